"""The gRPC server: takes questions and orders for cameras, and passes them on to the fleet."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from actors.config.schema import RouterConfig
from actors.errors import AddressInUse, ClientTooSlow
from actors.fleet.fleet import Fleet
from actors.server import conversions, status_codes
from actors.server.authentication import TokenInterceptor
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc

log = structlog.get_logger(__name__)

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())
_HEALTH_EVERY_S = 1.0
_STOP_GRACE_S = 2.0


class QueryService(pb_grpc.QueryServiceServicer):
    """Streams answers; a reader that does not keep up is cut off, one that leaves stops its answer."""

    def __init__(self, asked: Fleet, write_timeout_s: float) -> None:
        self._fleet = asked
        self._write_timeout_s = write_timeout_s

    async def Ask(  # noqa: N802
        self, request: pb.AskRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """See hermes_v1.proto."""
        limit = request.max_answer_tokens or None
        events = self._fleet.ask(request.camera, request.question, max_answer_tokens=limit)
        async with status_codes.refusing(context, camera=request.camera[:80]), aclosing(events):
            async for event in events:
                await self._write(context, conversions.event_message(event))

    async def _write(self, context: grpc.aio.ServicerContext[Any, Any], message: pb.AskResponse) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await context.write(message)
        except TimeoutError:
            raise ClientTooSlow(f"answer not read for {self._write_timeout_s:g} s (limit)") from None
        except grpc.aio.InternalError:
            # The caller left while a write was pending: the answer stops as at any other moment.
            raise asyncio.CancelledError from None


class CameraService(pb_grpc.CameraServiceServicer):
    """Adds, tests, shows and removes cameras."""

    def __init__(self, asked: Fleet) -> None:
        self._fleet = asked

    async def AddCamera(  # noqa: N802
        self, request: pb.AddCameraRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.AddCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.refusing(context, camera=request.name[:80]):
            placed = await self._fleet.add_camera(conversions.spec_from(request))
        return pb.AddCameraResponse(camera=conversions.camera_message(placed))

    async def GetCamera(  # noqa: N802
        self, request: pb.GetCameraRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.refusing(context, camera=request.name[:80]):
            placed = await self._fleet.get_camera(request.name)
        return pb.GetCameraResponse(camera=conversions.camera_message(placed))

    async def ListCameras(  # noqa: N802
        self, request: pb.ListCamerasRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListCamerasResponse:
        """See hermes_v1.proto."""
        async with status_codes.refusing(context):
            placed = await self._fleet.list_cameras()
        return pb.ListCamerasResponse(cameras=[conversions.camera_message(one) for one in placed])

    async def TestCamera(  # noqa: N802
        self, request: pb.TestCameraRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.TestCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.refusing(context):
            found = await self._fleet.test_camera(request.url)
        return conversions.inspection_message(found)

    async def RemoveCamera(  # noqa: N802
        self, request: pb.RemoveCameraRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RemoveCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.refusing(context, camera=request.name[:80]):
            await self._fleet.remove_camera(request.name)
        return pb.RemoveCameraResponse()


class FleetService(pb_grpc.FleetServiceServicer):
    """Shows shards and moves cameras between them."""

    def __init__(self, asked: Fleet) -> None:
        self._fleet = asked

    async def ListShards(  # noqa: N802
        self, request: pb.ListShardsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListShardsResponse:
        """See hermes_v1.proto."""
        async with status_codes.refusing(context):
            placed = await self._fleet.list_shards()
        return pb.ListShardsResponse(
            shards=[conversions.shard_message(one) for one in placed], headroom=self._fleet.headroom
        )

    async def MigrateCamera(  # noqa: N802
        self, request: pb.MigrateCameraRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.MigrateCameraResponse:
        """See hermes_v1.proto."""
        to_shard = request.to_shard if request.HasField("to_shard") else None
        async with status_codes.refusing(context, camera=request.name[:80]):
            placed = await self._fleet.move_camera(request.name, to_shard)
        return pb.MigrateCameraResponse(camera=conversions.camera_message(placed))

    async def DrainShard(  # noqa: N802
        self, request: pb.DrainShardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DrainShardResponse:
        """See hermes_v1.proto."""
        async with status_codes.refusing(context, shard=str(request.shard)):
            placed = await self._fleet.drain(request.shard)
        return pb.DrainShardResponse(shard=conversions.shard_message(placed))


class Router:
    """The server with its services, health and reflection."""

    def __init__(self, asked: Fleet, settings: RouterConfig, token: str | None) -> None:
        self._fleet = asked
        self._settings = settings
        self._server = grpc.aio.server(
            interceptors=[TokenInterceptor(token)] if token else [],
            # Without this a second router could share the port, and calls would go to either.
            options=[("grpc.so_reuseport", 0)],
            maximum_concurrent_rpcs=settings.max_concurrent_calls,
        )
        self._health = health_aio.HealthServicer()
        queries, orders = QueryService(asked, settings.write_timeout_s), CameraService(asked)
        pb_grpc.add_QueryServiceServicer_to_server(queries, self._server)  # type: ignore[no-untyped-call]
        pb_grpc.add_CameraServiceServicer_to_server(orders, self._server)  # type: ignore[no-untyped-call]
        pb_grpc.add_FleetServiceServicer_to_server(FleetService(asked), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        known = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(known, self._server)

    async def start(self) -> str:
        """Listens; returns HOST:PORT. Raises AddressInUse."""
        address = _joined(self._settings.host, self._settings.port)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise AddressInUse(f"router address {address}: cannot listen there, is it in use?") from error
        await self._server.start()
        return _joined(self._settings.host, port)

    async def report_health(self) -> None:
        """Keeps the health of every service up to date, for ever."""
        serving = health_pb2.HealthCheckResponse.SERVING
        while True:
            state = serving if self._fleet.is_up else health_pb2.HealthCheckResponse.NOT_SERVING
            await self._health.set("", serving)
            for service in SERVICES:
                await self._health.set(service, state)
            await asyncio.sleep(_HEALTH_EVERY_S)

    async def stop(self) -> None:
        """Takes no more calls, lets those under way end for a moment, then cuts them off."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_STOP_GRACE_S)


def require_free(settings: RouterConfig) -> None:
    """Finds out early, before anything slow is started, that the router could not listen. Raises AddressInUse."""
    try:
        socket.create_server((settings.host, settings.port), family=_family(settings.host)).close()
    except OSError as error:
        address = _joined(settings.host, settings.port)
        raise AddressInUse(f"router address {address}: cannot listen there: {error.strerror or error}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
