"""The services of hermes.v1: each call is converted, passed to the fleet, and its errors become gRPC statuses."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import structlog

from actors.errors import ClientTooSlow
from actors.fleet.fleet import Fleet
from actors.metrics.call_metrics import CallMetrics
from actors.server import call_guard, conversions, pages, requests, status_codes
from actors.server.startup import Startup
from actors.tracing.tracer import Tracer
from pipeline.answers import Caller, Started
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc

# The parameter of every call that describes the caller and sends the trailing status.
Context = grpc.aio.ServicerContext[Any, Any]
# What a client sends may be of any length; an error carries this much of it.
_MAX_NAME_CHARS = 80


def _trace_of(context: Context) -> str:
    """The client's span, as W3C `traceparent`; empty without one."""
    values = (value for key, value in context.invocation_metadata() or () if key == "traceparent")
    return str(next(values, ""))


class _FleetCaller:
    """What every service has: the fleet, once the server has started."""

    def __init__(self, startup: Startup) -> None:
        self._startup = startup

    @property
    def _fleet(self) -> Fleet:
        """Raises ServerStarting."""
        return self._startup.fleet


class QueryService(_FleetCaller, pb_grpc.QueryServiceServicer):
    """Streams answers. A client that does not read in time is cut off; one that cancels its call cancels the answer."""

    def __init__(self, startup: Startup, write_timeout_s: float, metrics: CallMetrics, tracer: Tracer) -> None:
        super().__init__(startup)
        self._tracer = tracer
        self._metrics = metrics
        self._write_timeout_s = write_timeout_s

    async def Ask(  # noqa: N802
        self, request: pb.AskRequest, context: Context
    ) -> None:
        """See hermes_v1.proto."""
        limit = request.max_answer_tokens or None
        caller = Caller(call_guard.peer_of(context), context.time_remaining())
        observe = self._metrics.answer()
        async with status_codes.translated_errors(context, camera=request.camera[:_MAX_NAME_CHARS]):
            with self._tracer.span("hermes.router", parent=_trace_of(context)) as span:
                events = self._fleet.ask(
                    request.camera, request.question, max_answer_tokens=limit, caller=caller, trace=span.context
                )
                async with aclosing(events):
                    async for event in events:
                        observe(event)
                        if isinstance(event, Started):
                            structlog.contextvars.bind_contextvars(answer_id=event.answer_id, epoch=event.epoch)
                        await self._write(context, conversions.event_message(event))

    async def _write(self, context: Context, message: pb.AskResponse) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await context.write(message)
        except TimeoutError:
            raise ClientTooSlow(
                f"the client did not read its answer for {self._write_timeout_s:g} s (limit: router.write_timeout_s)"
            ) from None
        except grpc.aio.InternalError:
            # The client cancelled while a write was pending. That ends the answer as at any other moment.
            raise asyncio.CancelledError from None


class CameraService(_FleetCaller, pb_grpc.CameraServiceServicer):
    """Adds, changes, lists, tests and removes cameras."""

    async def AddCamera(  # noqa: N802
        self, request: pb.AddCameraRequest, context: Context
    ) -> pb.AddCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context, camera=request.name[:_MAX_NAME_CHARS]):
            camera = await self._fleet.add_camera(requests.added_spec(request))
        return pb.AddCameraResponse(camera=conversions.camera_message(camera))

    async def GetCamera(  # noqa: N802
        self, request: pb.GetCameraRequest, context: Context
    ) -> pb.GetCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context, camera=request.name[:_MAX_NAME_CHARS]):
            camera = await self._fleet.get_camera(request.name)
        return pb.GetCameraResponse(camera=conversions.camera_message(camera))

    async def ListCameras(  # noqa: N802
        self, request: pb.ListCamerasRequest, context: Context
    ) -> pb.ListCamerasResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context):
            shard = request.shard if request.HasField("shard") else None
            response = pages.page(request, await self._fleet.list_cameras(shard=shard))
        if (away_since := conversions.optional_timestamp(self._fleet.store_away_since_s)) is not None:
            response.store_away_since.CopyFrom(away_since)
        return response

    async def UpdateCamera(  # noqa: N802
        self, request: pb.UpdateCameraRequest, context: Context
    ) -> pb.UpdateCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context, camera=request.name[:_MAX_NAME_CHARS]):
            camera = await self._fleet.update_camera(
                request.name,
                lambda spec: requests.updated_spec(spec, request),
                allow_memory_loss=request.allow_memory_loss,
            )
        return pb.UpdateCameraResponse(camera=conversions.camera_message(camera))

    async def EraseMemory(  # noqa: N802
        self, request: pb.EraseMemoryRequest, context: Context
    ) -> pb.EraseMemoryResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context, camera=request.name[:_MAX_NAME_CHARS]):
            camera = await self._fleet.erase_memory(request.name)
        return pb.EraseMemoryResponse(camera=conversions.camera_message(camera))

    async def TestCamera(  # noqa: N802
        self, request: pb.TestCameraRequest, context: Context
    ) -> pb.TestCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context):
            result = await self._fleet.test_camera(request.url, requests.tested_tls(request))
        return conversions.probe_message(result)

    async def RemoveCamera(  # noqa: N802
        self, request: pb.RemoveCameraRequest, context: Context
    ) -> pb.RemoveCameraResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context, camera=request.name[:_MAX_NAME_CHARS]):
            await self._fleet.remove_camera(request.name)
        return pb.RemoveCameraResponse()


class FleetService(_FleetCaller, pb_grpc.FleetServiceServicer):
    """Lists shards and moves cameras between them."""

    async def ListShards(  # noqa: N802
        self, request: pb.ListShardsRequest, context: Context
    ) -> pb.ListShardsResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context):
            shards = await self._fleet.list_shards()
        return pb.ListShardsResponse(
            shards=[conversions.shard_message(shard) for shard in shards],
            headroom=self._fleet.headroom,
            numbers=conversions.numbers_message(self._fleet.shard_numbers),
            store_away_since=conversions.optional_timestamp(self._fleet.store_away_since_s),
        )

    async def MigrateCamera(  # noqa: N802
        self, request: pb.MigrateCameraRequest, context: Context
    ) -> pb.MigrateCameraResponse:
        """See hermes_v1.proto."""
        to_shard = request.to_shard if request.HasField("to_shard") else None
        async with status_codes.translated_errors(context, camera=request.name[:_MAX_NAME_CHARS]):
            camera = await self._fleet.move_camera(request.name, to_shard)
        return pb.MigrateCameraResponse(camera=conversions.camera_message(camera))

    async def DrainShard(  # noqa: N802
        self, request: pb.DrainShardRequest, context: Context
    ) -> pb.DrainShardResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context, shard=str(request.shard)):
            result = await self._fleet.drain(request.shard, force=request.force)
        return conversions.drain_message(result)

    async def UndrainShard(  # noqa: N802
        self, request: pb.UndrainShardRequest, context: Context
    ) -> pb.UndrainShardResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context, shard=str(request.shard)):
            shard = await self._fleet.undrain(request.shard)
        return pb.UndrainShardResponse(shard=conversions.shard_message(shard))

    async def ScaleShards(  # noqa: N802
        self, request: pb.ScaleShardsRequest, context: Context
    ) -> pb.ScaleShardsResponse:
        """See hermes_v1.proto."""
        async with status_codes.translated_errors(context):
            numbers = await self._fleet.scale(request.min, request.max)
        return pb.ScaleShardsResponse(numbers=conversions.numbers_message(numbers))
