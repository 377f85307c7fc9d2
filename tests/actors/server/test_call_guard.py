"""What stands before every call: limits that callers without a token cannot use up, and errors that tell nothing."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pipeline.answers import Token
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc
from tests.actors.conftest import Serving
from tests.actors.scripted import STARTED, ScriptedShard
from tests.actors.server.test_server import call_cameras, status_of
from tests.actors.waiting import until

RIGHT = (("authorization", "Bearer right"),)


async def list_cameras(address: str, **options) -> pb.ListCamerasResponse:
    return await call_cameras(address, "ListCameras", pb.ListCamerasRequest(), **options)


async def test_watches_of_health_without_a_token_take_no_place_of_other_calls_and_probes(serving: Serving) -> None:
    async with serving(ScriptedShard(), token="right") as address, grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(256)]
        results = await asyncio.gather(*(watch.read() for watch in watches), return_exceptions=True)
        refused = [error for error in results if isinstance(error, grpc.aio.AioRpcError)]
        probe = await health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        listed = await list_cameras(address, metadata=RIGHT)

    assert len(refused) == 256 - 8
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert "watches of health of 127.0.0.1 run already (limit 8)" in refused[0].details()
    assert probe.status == health_pb2.HealthCheckResponse.SERVING
    assert [camera.name for camera in listed.cameras] == ["gate"]


async def test_a_watch_that_ends_leaves_its_place(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address, grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(3):
            watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(8)]
            for watch in watches:
                assert await watch.read()
                watch.cancel()
            assert {await watch.code() for watch in watches} == {grpc.StatusCode.CANCELLED}
            await health.Check(health_pb2.HealthCheckRequest(), timeout=20)  # behind the cancellations


async def test_calls_that_never_send_a_request_are_refused_without_a_token_and_take_no_place(serving: Serving) -> None:
    server = serving(ScriptedShard(), token="right", max_concurrent_calls=1)
    async with server as address, grpc.aio.insecure_channel(address) as channel:
        open_calls = [channel.stream_unary("/hermes.v1.CameraService/ListCameras")() for _ in range(64)]
        codes = [await call.code() for call in open_calls]
        listed = await list_cameras(address, metadata=RIGHT)

    assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}
    assert [camera.name for camera in listed.cameras] == ["gate"]


async def test_one_host_cannot_use_up_all_calls(serving: Serving) -> None:
    shard = ScriptedShard(answer=[Token("word ", number) for number in range(100_000)])
    shard.pause_s = 0.01
    server = serving(shard, max_concurrent_calls_per_peer=4)
    async with server as address, grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.QueryServiceStub(channel)
        calls = [stub.Ask(pb.AskRequest(camera="gate", question="what")) for _ in range(4)]
        for call in calls:
            await call.read()
        found, info, message = await status_of(list_cameras(address))
        calls[0].cancel()
        await until(lambda: shard.unfinished == 3)
        listed = await list_cameras(address)

    assert (found, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert "4 calls of 127.0.0.1 run already (limit 4, router.max_concurrent_calls_per_peer)" in message
    assert [camera.name for camera in listed.cameras] == ["gate"]


@pytest.mark.parametrize("method", ["AddCamera", "TestCamera"])
async def test_an_unforeseen_error_reaches_the_client_as_an_id_and_the_log_without_secrets(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(_: object, spec: object, *__: object) -> None:
        raise LookupError(f"no such thing as {spec}: c4n4ry-word")

    for name in ("add_camera", "test_camera"):
        monkeypatch.setattr("actors.fleet.fleet.Fleet." + name, fail)
    url = "rtsp://viewer:c4n4ry-word@camera.example/1"
    request = pb.TestCameraRequest(url=url) if method == "TestCamera" else pb.AddCameraRequest(name="yard", url=url)
    async with serving(ScriptedShard()) as address:
        with structlog.testing.capture_logs() as events:
            found, info, message = await status_of(call_cameras(address, method, request))

    event = next(event for event in events if event["event"] == "unexpected_error")
    assert (found, info.reason) == (grpc.StatusCode.INTERNAL, "UNEXPECTED_ERROR")
    assert info.metadata["error_id"] == event["id"]
    assert event["id"] in message
    assert "LookupError" in event["trace"]
    assert event["method"] == f"/hermes.v1.CameraService/{method}"
    assert "LookupError" not in message
    assert "c4n4ry" not in repr((event, message, info))


async def test_an_unforeseen_error_in_the_middle_of_an_answer_ends_it_with_an_id(serving: Serving) -> None:
    """The log has that id, and whose answer it was."""
    server = serving(ScriptedShard(answer=[STARTED, Token("red", 0), ZeroDivisionError("c4n4ry")]))
    async with server as address, grpc.aio.insecure_channel(address) as channel:
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as events:
            call = pb_grpc.QueryServiceStub(channel).Ask(pb.AskRequest(camera="gate", question="what"))
            started, first = await call.read(), await call.read()
            found, info, message = await status_of(call.read())

    assert first.token.text == "red"
    event = next(event for event in events if event["event"] == "unexpected_error")
    assert (event["id"], event["camera"]) == (info.metadata["error_id"], "gate")
    assert (event["answer_id"], event["epoch"]) == (started.started.answer_id, started.started.epoch)
    assert (found, info.reason) == (grpc.StatusCode.INTERNAL, "UNEXPECTED_ERROR")
    assert "c4n4ry" not in message


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason"),
    [
        ("/hermes.v1.CameraService/AddCamera", b"\xff\xff\xff", "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ("/hermes.v1.CameraService/Nothing", b"", "UNIMPLEMENTED", "UNKNOWN_METHOD"),
        ("/nothing.at.All/Nothing", b"", "UNIMPLEMENTED", "UNKNOWN_METHOD"),
        ("/grpc.health.v1.Health/List", b"", "UNIMPLEMENTED", "UNKNOWN_METHOD"),
    ],
)
async def test_what_is_no_request_is_named(
    serving: Serving, method: str, request_: bytes, code: str, reason: str
) -> None:
    async with serving(ScriptedShard()) as address, grpc.aio.insecure_channel(address) as channel:
        found, info, message = await status_of(channel.unary_unary(method)(request_, timeout=20))

    assert (found.name, info.reason) == (code, reason)
    assert method in message


async def test_a_call_without_a_request_is_refused(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_unary("/hermes.v1.CameraService/ListCameras")(iter(()), timeout=20)
        found, info, message = await status_of(call)

    assert (found.name, info.reason, message) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "the call has no request")


async def test_a_call_that_never_sends_its_request_leaves_its_place_after_a_time(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.server.call_guard._REQUEST_TIMEOUT_S", 0.2)
    server = serving(ScriptedShard(), max_concurrent_calls=1)
    async with server as address, grpc.aio.insecure_channel(address) as channel:
        found, info, message = await status_of(channel.stream_unary("/hermes.v1.CameraService/ListCameras")())
        listed = await list_cameras(address)

    assert (found.name, info.reason) == ("DEADLINE_EXCEEDED", "CLIENT_TOO_SLOW")
    assert "did not send its request for 0.2 s" in message
    assert [camera.name for camera in listed.cameras] == ["gate"]
