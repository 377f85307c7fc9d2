"""Live, ready and stopping are different things, and the health service says which of them a server is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actors import development_ca, task_cancellation
from actors.config.router_config import RouterConfig
from actors.config.tls import TlsConfig
from actors.fleet.fleet import Fleet
from actors.server.server import READY, Router
from actors.server.startup import Startup
from pipeline.answers import AnswerEvent
from pipeline.cameras import CameraSpec
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc
from tests.actors.scripted import ANSWER, ScriptedShard, scripted_fleet
from tests.actors.server.calls import call_cameras, status_of

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class HeldShard(ScriptedShard):
    """Answers only once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def ask(self, camera_id: str, question: str, **_: Any) -> AsyncGenerator[AnswerEvent, None]:
        self.was_asked.set()
        await self.may_answer.wait()
        for event in ANSWER:
            yield event


@asynccontextmanager
async def routing(startup: Startup, **settings: Any) -> AsyncIterator[tuple[Router, str]]:
    router = Router(startup, RouterConfig(port=0, **settings), "right")
    address = await router.start()
    reporting = asyncio.create_task(router.report_health(every_s=0.01))
    try:
        async with asyncio.timeout(60.0):
            yield router, address
    finally:
        await task_cancellation.end(reporting)
        await router.stop()


def fleet_of(shard: ScriptedShard) -> Fleet:
    fleet = scripted_fleet(shard)
    fleet.configure([CameraSpec(name="gate", url="sim:gate")])
    return fleet


async def check(address: str, service: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)).status


async def reaches(watch: grpc.aio.UnaryStreamCall, status: int) -> None:
    while (await watch.read()).status != status:
        pass


async def test_a_server_that_starts_is_live_and_not_ready_and_says_what_it_waits_for() -> None:
    startup, fleet = Startup(), fleet_of(ScriptedShard())
    async with routing(startup) as (_, address), grpc.aio.insecure_channel(address) as channel:
        startup.wait_for("loading model 'tiny' on 2 of 4 shards")
        ready = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="ready"))
        await reaches(ready, NOT_SERVING)
        assert [await check(address, name) for name in ("live", "")] == [SERVING, NOT_SERVING]
        metadata = (("authorization", "Bearer right"),)
        listing = call_cameras(address, "ListCameras", pb.ListCamerasRequest(), metadata=metadata)
        code, info, message = await status_of(listing)
        assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STARTING")
        assert "waits for loading model 'tiny' on 2 of 4 shards" in message

        await fleet.reconcile()
        startup.finish(fleet)
        await reaches(ready, SERVING)
        listed = await call_cameras(address, "ListCameras", pb.ListCamerasRequest(), metadata=metadata)

    assert [camera.name for camera in listed.cameras] == ["gate"]


@pytest.mark.parametrize("service", READY)
async def test_readiness_follows_the_shards_and_liveness_does_not(service: str) -> None:
    shard = ScriptedShard()
    fleet = fleet_of(shard)
    await fleet.reconcile()
    async with routing(Startup(fleet)) as (_, address), grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))
        for is_down, expected in ((False, SERVING), (True, NOT_SERVING), (False, SERVING)):
            shard.is_down = is_down
            await fleet.list_shards()
            await reaches(watch, expected)
            assert await check(address, "live") == SERVING


async def test_a_server_that_stops_is_not_ready_and_its_running_answers_end() -> None:
    shard = HeldShard()
    fleet = fleet_of(shard)
    await fleet.reconcile()
    async with routing(Startup(fleet)) as (router, address), grpc.aio.insecure_channel(address) as channel:
        ready = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="ready"))
        await reaches(ready, SERVING)
        answer = ask(channel)
        first = asyncio.create_task(answer.read())
        await shard.was_asked.wait()
        stopping = asyncio.create_task(router.stop())
        await reaches(ready, NOT_SERVING)
        shard.may_answer.set()
        await first
        events = [event async for event in _read(answer)]
        await stopping

    assert events[-1].done.answer == "red car"


async def test_an_answer_that_outlasts_the_grace_period_is_cut_off() -> None:
    shard = HeldShard()
    fleet = fleet_of(shard)
    await fleet.reconcile()
    async with routing(Startup(fleet), grace_s=0.0) as (router, address), grpc.aio.insecure_channel(address) as channel:
        answer = ask(channel)
        await shard.was_asked.wait()
        await router.stop()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer.read()

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_health_port_of_a_server_with_tls_serves_plain_health_and_nothing_else(tmp_path: Path) -> None:
    files = development_ca.make(tmp_path / "certs")
    tls = TlsConfig(certificate=files.certificate("server"), key=files.key("server"))
    fleet = fleet_of(ScriptedShard())
    await fleet.reconcile()
    async with routing(Startup(fleet), tls=tls, health_port=0) as (router, address):
        probed = router.health_address
        assert probed not in (None, address)
        assert [await check(probed, name) for name in ("live", "ready", "")] == [SERVING] * 3
        metadata = (("authorization", "Bearer right"),)
        listing = call_cameras(probed, "ListCameras", pb.ListCamerasRequest(), metadata=metadata)
        code, info, _ = await status_of(listing)

    assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")


def ask(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall:
    request = pb.AskRequest(camera="gate", question="what")
    return pb_grpc.QueryServiceStub(channel).Ask(request, metadata=(("authorization", "Bearer right"),))


async def _read(call: grpc.aio.UnaryStreamCall) -> AsyncIterator[pb.AskResponse]:
    while (event := await call.read()) is not grpc.aio.EOF:
        yield event
