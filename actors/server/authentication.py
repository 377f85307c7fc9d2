"""Who may call the router: with a token set, those who send it, and health checks."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from grpc_status import rpc_status

from actors.server import status_codes

_OPEN_TO_ALL = "/grpc.health.v1.Health/"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses every call that does not carry `authorization: Bearer TOKEN`."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        status = status_codes.refusal(
            grpc.StatusCode.UNAUTHENTICATED,
            "UNAUTHENTICATED",
            "this server wants 'authorization: Bearer TOKEN' with the token of its auth.token_file",
        )

        async def refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort_with_status(rpc_status.to_status(status))

        self._refusal: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of the call if it may pass, one that refuses it if not."""
        if handler_call_details.method.startswith(_OPEN_TO_ALL) or self._is_known(handler_call_details):
            return await continuation(handler_call_details)
        return self._refusal

    def _is_known(self, details: grpc.HandlerCallDetails) -> bool:
        given = (value for key, value in details.invocation_metadata if key == "authorization")
        return any(hmac.compare_digest(_as_bytes(value), self._expected) for value in given)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
