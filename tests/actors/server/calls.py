"""Calls a server from a test, and reads the status of a call that it refused."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from protos import hermes_v1_pb2_grpc as pb_grpc


async def call_cameras(address: str, method: str, request: Any, **options: Any) -> Any:
    async with grpc.aio.insecure_channel(address) as channel:
        return await getattr(pb_grpc.CameraServiceStub(channel), method)(request, timeout=20, **options)


async def call_fleet(address: str, method: str, request: Any, **options: Any) -> Any:
    async with grpc.aio.insecure_channel(address) as channel:
        return await getattr(pb_grpc.FleetServiceStub(channel), method)(request, timeout=20, **options)


async def status_of(call: Any) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo, str]:
    """Code, ErrorInfo and message of a call that the server refuses."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status, info = rpc_status.from_call(caught.value), error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return caught.value.code(), info, caught.value.details()
