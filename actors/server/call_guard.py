"""Guards every call: checks its token, the limits and its request, and answers an unforeseen error with an id."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import inspect
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from actors.config.router_config import RouterConfig
from actors.errors import ClientTooSlow, InvalidRequest, UnknownMethod
from actors.metrics.call_metrics import CallMetrics
from actors.server import call_limits, observed_context, status_codes
from actors.server.call_limits import CallLimiter
from pipeline.network.redaction import REDACTOR

log = structlog.get_logger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[Any]

_HEALTH_METHODS = "/grpc.health.v1.Health/"
_REQUEST_TIMEOUT_S = 10.0
_UNAUTHENTICATED = status_codes.make_status(
    grpc.StatusCode.UNAUTHENTICATED,
    status_codes.UNAUTHENTICATED,
    "the token of this server's auth.token_file is missing or another one: send it as the metadata 'authorization: "
    "Bearer TOKEN' (--token-file, HERMES_TOKEN_FILE)",
)


class CallGuard(grpc.aio.ServerInterceptor):
    """Refuses calls beyond the limits and, except health checks, calls without `authorization: Bearer TOKEN`.

    A refused call waits for nothing and takes no place of those that are served.
    """

    def __init__(self, settings: RouterConfig, token: str | None, metrics: CallMetrics) -> None:
        self._metrics = metrics
        self._expected = f"Bearer {token}".encode() if token else None
        self._calls = CallLimiter(
            "calls",
            limit=settings.max_concurrent_calls,
            limit_per_peer=settings.max_concurrent_calls_per_peer,
            setting="router.max_concurrent_calls",
        )
        self._health = {
            "Check": CallLimiter("health checks", limit=256, limit_per_peer=16),
            "Watch": CallLimiter("watches of health", limit=64, limit_per_peer=8),
        }

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler of the call behind its guard, or one that refuses the call."""
        method = handler_call_details.method
        limiter = self._health.get(method.removeprefix(_HEALTH_METHODS), self._calls)
        if limiter is self._calls and not self._has_token(handler_call_details):
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        handler = await continuation(handler_call_details)
        # A client can make up any number of methods: they are one in the metrics.
        name = method.removeprefix("/") if handler is not None else "unknown"

        async def run(requests: Requests, context: Context) -> None:
            with self._metrics.call(name) as outcome:
                context = observed_context.observed(context, outcome)
                async with _translated(context, method):
                    if handler is None:
                        raise UnknownMethod(f"{method[:80]!r}: this server has no such method")
                    with limiter.admit(peer_of(context)):
                        await _serve(handler, requests, context)

        # As a stream, so that the guard decides before the client has sent its request, which it may never do.
        return grpc.stream_stream_rpc_method_handler(
            run,
            request_deserializer=None if handler is None else handler.request_deserializer,
            response_serializer=None if handler is None else handler.response_serializer,
        )

    async def until_idle(self, timeout_s: float) -> None:
        """Returns once no call runs but those of health, or after a timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._calls.until_idle()

    def _has_token(self, details: grpc.HandlerCallDetails) -> bool:
        if self._expected is None:
            return True
        values = (value for key, value in details.invocation_metadata if key == "authorization")
        return any(hmac.compare_digest(_as_bytes(value), self._expected) for value in values)

    async def _refuse(self, _: Requests, context: Context) -> None:
        with self._metrics.call("unauthenticated") as outcome:
            context = observed_context.observed(context, outcome)
            await context.abort_with_status(rpc_status.to_status(_UNAUTHENTICATED))


async def _serve(handler: Handler, requests: Requests, context: Context) -> None:
    request = requests if handler.request_streaming else await _only(requests)
    with ExitStack() as secrets:
        for url in _urls_in(request):
            secrets.enter_context(REDACTOR.remembering(url))
        if not handler.response_streaming:
            unary: Callable[..., Any] = cast(Any, handler.unary_unary)
            await context.write(await unary(request, context))
            return
        behaviour: Callable[..., Any] = cast(Any, handler.stream_stream or handler.unary_stream)
        responses = behaviour(request, context)
        if inspect.isawaitable(responses):
            await responses  # it writes its responses itself
            return
        async with aclosing(responses):
            async for response in responses:
                await context.write(response)


def _urls_in(request: Any) -> list[str]:
    """Every text of a request that may be a URL with a password, in whichever field it stands."""
    values = [value for _, value in request.ListFields()] if isinstance(request, Message) else []
    return [value for value in values if isinstance(value, str) and "://" in value]


async def _only(requests: Requests) -> Any:
    """The one request of a call. Raises InvalidRequest, ClientTooSlow."""
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            return await anext(requests)
    except StopAsyncIteration:
        raise InvalidRequest("the call has no request") from None
    except TimeoutError:
        raise ClientTooSlow(f"the client did not send its request for {_REQUEST_TIMEOUT_S:g} s (limit)") from None


@asynccontextmanager
async def _translated(context: Context, method: str) -> AsyncIterator[None]:
    """Ends the call with a status for whatever leaves the block; an unforeseen error stays in the log, under an id."""
    async with status_codes.translated_errors(context):
        try:
            yield
        except DecodeError:
            raise InvalidRequest(f"{method}: the request is not a message of this method") from None
        except grpc.aio.BaseError:
            raise
        except status_codes.ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - the guard of this call
            if isinstance(error, NotImplementedError) and context.code() is grpc.StatusCode.UNIMPLEMENTED:
                # A method of the contract of gRPC's own services that their servicer leaves out.
                raise UnknownMethod(f"{method!r}: this server does not serve this method") from None
            error_id = uuid.uuid4().hex[:12]
            # Not log.exception: renderers show local variables, and so secrets.
            trace = REDACTOR.redact("".join(traceback.format_exception(error)))
            log.error("unexpected_error", id=error_id, method=method, trace=trace)
            status = status_codes.make_status(
                grpc.StatusCode.INTERNAL,
                status_codes.UNEXPECTED,
                f"an error that this server did not foresee; its log has the details under the id {error_id}",
                error_id=error_id,
            )
            await context.abort_with_status(rpc_status.to_status(status))


def peer_of(context: Context) -> str:
    """Who calls: the names in its certificate if it showed one, else its host."""
    names = context.peer_identities()
    if names:
        return ", ".join(sorted(name.decode(errors="replace") for name in names))
    return call_limits.peer_name(context.peer())


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
