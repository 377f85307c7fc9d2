"""The token check of the server: with a token, only calls that carry it are served, and health checks."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from grpc_status import rpc_status

from actors.server import status_codes

_HEALTH_METHODS = "/grpc.health.v1.Health/"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses every call that does not carry `authorization: Bearer TOKEN`."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        status = status_codes.make_status(
            grpc.StatusCode.UNAUTHENTICATED,
            "UNAUTHENTICATED",
            "send the metadata 'authorization: Bearer TOKEN' with the token of this server's auth.token_file",
        )

        async def refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort_with_status(rpc_status.to_status(status))

        self._refusal: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of the call if it may be served, else a handler that refuses it."""
        if handler_call_details.method.startswith(_HEALTH_METHODS) or self._has_token(handler_call_details):
            return await continuation(handler_call_details)
        return self._refusal

    def _has_token(self, details: grpc.HandlerCallDetails) -> bool:
        values = (value for key, value in details.invocation_metadata if key == "authorization")
        return any(hmac.compare_digest(_as_bytes(value), self._expected) for value in values)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
