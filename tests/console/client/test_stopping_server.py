"""What a client says of a server that stops while it is called."""

from __future__ import annotations

from concurrent import futures

import grpc
import pytest

from console.client.client import HermesClient
from console.client.errors import ClientError


def _cancelled(_: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
    raise AssertionError


class _Stopping(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(_cancelled)


def test_a_call_that_the_server_ends_says_what_to_do() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[_Stopping()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with HermesClient(address) as hermes, pytest.raises(ClientError, match=f"{address} ended the call.* try again"):
            hermes.list_shards()
    finally:
        server.stop(None)
