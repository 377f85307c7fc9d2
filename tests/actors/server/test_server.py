"""The gRPC server, over a real connection, in front of scripted shards."""

from __future__ import annotations

import asyncio
import dataclasses
import socket

import grpc
import grpc.aio
import pytest

from actors.config.router_config import RouterConfig
from actors.errors import AddressInUse
from actors.server.server import Router
from actors.server.startup import Startup
from cache_store.gap import Gap
from pipeline.answers import (
    AnswerFailed,
    AnswerWarning,
    Evidence,
    InvalidQuestion,
    Overloaded,
    PictureWarning,
    QuestionExpired,
    Started,
    Token,
    WarningCode,
)
from pipeline.cameras import CameraState, SourceReason
from pipeline.picture_note import PictureNote
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc
from tests.actors.scripted import DONE, STARTED, ScriptedShard, scripted_fleet
from tests.actors.server.calls import call_cameras, status_of
from tests.actors.server.reflected import ReflectedClient
from tests.actors.waiting import until


async def ask(address: str, camera: str = "gate", **options) -> list[pb.AskResponse]:
    async with grpc.aio.insecure_channel(address) as channel:
        call = pb_grpc.QueryServiceStub(channel).Ask(pb.AskRequest(camera=camera, question="what"), **options)
        return [event async for event in call]


async def test_an_answer_is_streamed_from_started_to_done(serving) -> None:
    async with serving(ScriptedShard()) as address:
        events = await ask(address)

    assert [event.WhichOneof("event") for event in events] == ["started", "token", "token", "evidence", "done"]
    assert events[0].started.memory_as_of.ToNanoseconds() == 1_000_250_000_000
    assert "".join(event.token.text for event in events) == "red car"
    assert events[3].evidence.thumbnail_jpeg == b"jpeg"
    assert events[4].done.finish_reason == pb.FINISH_REASON_END


async def test_warnings_and_gaps_come_with_started(serving) -> None:
    started = Started(
        answer_id="1",
        camera="gate",
        memory_as_of_s=9.0,
        gaps=(Gap(1.0, 2.5, "restored from a checkpoint"),),
        warnings=(AnswerWarning(WarningCode.UNKNOWN_WORDS, "does not know 'zebra'", ("zebra",)),),
    )
    async with serving(ScriptedShard(answer=[started, DONE])) as address:
        events = await ask(address)

    assert events[0].started.gaps[0].end.ToNanoseconds() == 2_500_000_000
    assert events[0].started.warnings[0].code == pb.WARNING_CODE_UNKNOWN_WORDS
    assert list(events[0].started.warnings[0].words) == ["zebra"]


async def test_a_picture_that_goes_black_during_an_answer_is_warned_of_at_its_end(serving) -> None:
    picture = PictureWarning(PictureNote.PICTURE_BLACK, "camera 'gate': its picture is black")
    async with serving(ScriptedShard(answer=[STARTED, dataclasses.replace(DONE, picture=picture)])) as address:
        events = await ask(address)

    assert list(events[0].started.warnings) == []
    assert [warning.code for warning in events[-1].done.warnings] == [pb.WARNING_CODE_PICTURE_BLACK]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidQuestion("question: empty"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_QUESTION"),
        (Overloaded("64 wait already"), grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_QUESTIONS"),
        (AnswerFailed("removed"), grpc.StatusCode.ABORTED, "ANSWER_FAILED"),
        (QuestionExpired("not answered within 2 s"), grpc.StatusCode.DEADLINE_EXCEEDED, "QUESTION_EXPIRED"),
    ],
)
async def test_a_question_that_fails_ends_with_its_reason(serving, error, code, reason) -> None:
    async with serving(ScriptedShard(answer=[STARTED, error])) as address:
        found, info, message = await status_of(ask(address))

    assert (found, info.reason, message) == (code, reason, str(error))
    assert info.metadata["camera"] == "gate"


async def test_the_limit_of_an_answer_reaches_the_shard_and_zero_means_none(serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address, grpc.aio.insecure_channel(address) as channel:
        for limit in (5, 0):
            request = pb.AskRequest(camera="gate", question="what", max_answer_tokens=limit)
            assert [event async for event in pb_grpc.QueryServiceStub(channel).Ask(request)]

    assert shard.token_limits == [5, None]


async def test_the_deadline_of_a_call_and_its_client_reach_the_shard(serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        await ask(address, timeout=30.0)
        await ask(address)

    hasty, patient = shard.callers
    assert hasty.timeout_s is not None
    assert 0 < hasty.timeout_s < 31.0
    assert (hasty.client, patient.client, patient.timeout_s) == ("127.0.0.1", "127.0.0.1", None)


async def test_an_unknown_camera_is_not_found(serving) -> None:
    async with serving(ScriptedShard()) as address:
        found, info, message = await status_of(ask(address, "gaet"))

    assert (found, info.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_CAMERA")
    assert message == "camera 'gaet': not watched here (nearest name among 1: gate)"


async def test_cameras_are_added_shown_listed_and_removed(serving) -> None:
    async with serving(ScriptedShard()) as address:
        added = await call_cameras(address, "AddCamera", pb.AddCameraRequest(name="yard", url="sim:yard"))
        listed = await call_cameras(address, "ListCameras", pb.ListCamerasRequest())
        shown = await call_cameras(address, "GetCamera", pb.GetCameraRequest(name="yard"))
        await call_cameras(address, "RemoveCamera", pb.RemoveCameraRequest(name="yard"))
        left = await call_cameras(address, "ListCameras", pb.ListCamerasRequest())

    assert added.camera.state == pb.CAMERA_STATE_LIVE
    assert shown.camera.memory.frames_seen == 8
    assert not shown.camera.memory.HasField("checkpointed")
    assert [camera.name for camera in listed.cameras] == ["gate", "yard"]
    assert [camera.name for camera in left.cameras] == ["gate"]


@pytest.mark.parametrize(("options", "is_gated"), [({}, True), ({"gate": True}, True), ({"gate": False}, False)])
async def test_a_camera_skips_unchanged_patches_unless_its_client_says_no(
    serving, options: dict[str, bool], is_gated: bool
) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        await call_cameras(address, "AddCamera", pb.AddCameraRequest(name="yard", url="sim:yard", **options))

    assert shard.assignments["yard"].spec.gate is is_gated


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.AddCameraRequest(name="", url="sim:a"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CAMERA"),
        (pb.AddCameraRequest(name="a", url=""), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CAMERA"),
        (pb.AddCameraRequest(name="a", url="gopher://x"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CAMERA"),
        (pb.AddCameraRequest(name="a", url="sim:a", pace=7), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CAMERA"),
        (pb.AddCameraRequest(name="gate", url="sim:a"), grpc.StatusCode.ALREADY_EXISTS, "CAMERA_EXISTS"),
    ],
)
async def test_an_invalid_camera_is_refused(serving, request_, code, reason) -> None:
    async with serving(ScriptedShard()) as address:
        found, info, _ = await status_of(call_cameras(address, "AddCamera", request_))

    assert (found, info.reason) == (code, reason)


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        (CameraState.FAILED, grpc.StatusCode.FAILED_PRECONDITION, "SOURCE_INVALID"),
        (CameraState.BACKING_OFF, grpc.StatusCode.UNAVAILABLE, "SOURCE_UNREACHABLE"),
    ],
)
async def test_a_camera_without_video_is_refused(serving, state, code, reason) -> None:
    shard = ScriptedShard()
    shard.states["film"] = (state, "no video in '/tmp/x'")
    shard.reason = SourceReason.NOT_VIDEO
    async with serving(shard) as address:
        request = pb.AddCameraRequest(name="film", url="/tmp/x")
        found, info, message = await status_of(call_cameras(address, "AddCamera", request))

    assert (found, info.reason, message) == (code, reason, "no video in '/tmp/x'; the camera was not added")
    assert info.metadata["source_reason"] == "NOT_VIDEO"


async def test_a_secret_in_an_error_is_removed(serving) -> None:
    shard = ScriptedShard()
    shard.states["yard"] = (CameraState.FAILED, "libav: u:c4n4ry@host c4n4ry%21 c4n4ry!")
    async with serving(shard) as address:
        request = pb.AddCameraRequest(name="yard", url="rtsp://u:c4n4ry%21@host/live")
        _, _, message = await status_of(call_cameras(address, "AddCamera", request))

    assert "c4n4ry%21" not in message
    assert "c4n4ry!" not in message


async def test_credentials_in_a_url_are_in_no_response(serving) -> None:
    async with serving(ScriptedShard()) as address:
        listed = await call_cameras(address, "ListCameras", pb.ListCamerasRequest())
        request = pb.AddCameraRequest(name="a", url="rtsp://user:canary@ho st/1")
        *_, message = await status_of(call_cameras(address, "AddCamera", request))

    assert "camera.example" in listed.cameras[0].url
    assert "canary" not in str(listed) + message


async def test_a_camera_moves_to_the_emptiest_other_shard_or_to_a_named_one(serving) -> None:
    async with serving(ScriptedShard(), ScriptedShard(pid=2)) as address, grpc.aio.insecure_channel(address) as channel:
        fleet = pb_grpc.FleetServiceStub(channel)
        moved = await fleet.MigrateCamera(pb.MigrateCameraRequest(name="gate"), timeout=20)
        moved_back = await fleet.MigrateCamera(pb.MigrateCameraRequest(name="gate", to_shard=0), timeout=20)

    assert (moved.camera.shard, moved_back.camera.shard) == (1, 0)


async def test_a_drained_shard_has_no_cameras_and_is_listed_as_draining(serving) -> None:
    async with serving(ScriptedShard(), ScriptedShard(pid=2)) as address, grpc.aio.insecure_channel(address) as channel:
        fleet = pb_grpc.FleetServiceStub(channel)
        drained = await fleet.DrainShard(pb.DrainShardRequest(shard=0), timeout=20)
        listed = await fleet.ListShards(pb.ListShardsRequest(), timeout=20)

    assert (drained.shard.index, list(drained.shard.cameras)) == (0, [])
    assert [(shard.state, list(shard.cameras)) for shard in listed.shards] == [
        (pb.SHARD_STATE_DRAINING, []),
        (pb.SHARD_STATE_UP, ["gate"]),
    ]


async def test_a_shard_that_does_not_exist_is_refused(serving) -> None:
    async with serving(ScriptedShard()) as address, grpc.aio.insecure_channel(address) as channel:
        call = pb_grpc.FleetServiceStub(channel).DrainShard(pb.DrainShardRequest(shard=7), timeout=20)
        found, info, message = await status_of(call)

    assert (found, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_SHARD")
    assert "7" in message


async def test_a_call_that_is_cancelled_cancels_the_answer(serving) -> None:
    shard = ScriptedShard(answer=[Token("word ", number) for number in range(10_000)])
    shard.pause_s = 0.01
    async with serving(shard) as address, grpc.aio.insecure_channel(address) as channel:
        call = pb_grpc.QueryServiceStub(channel).Ask(pb.AskRequest(camera="gate", question="what"))
        await call.read()
        assert shard.unfinished == 1
        call.cancel()
        await until(lambda: not shard.unfinished)


async def test_a_client_that_does_not_read_is_cut_off_with_the_reason(serving) -> None:
    thumbnail = Evidence(1.0, 1.0, bytes(1 << 20))
    shard = ScriptedShard(answer=[thumbnail] * 64)
    async with serving(shard, write_timeout_s=0.2) as address, grpc.aio.insecure_channel(address) as channel:
        call = pb_grpc.QueryServiceStub(channel).Ask(pb.AskRequest(camera="gate", question="what"))
        await call.read()
        await until(lambda: not shard.unfinished)
        found, info, message = await status_of(read_all(call))

    assert (found, info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "CLIENT_TOO_SLOW")
    assert "0.2 s" in message
    assert "router.write_timeout_s" in message


async def read_all(call: grpc.aio.UnaryStreamCall) -> int:
    """Reads a call to its end; returns the number of messages."""
    count = 0
    while await call.read() is not grpc.aio.EOF:
        count += 1
    return count


async def test_a_client_that_reads_in_time_gets_every_message(serving) -> None:
    thumbnail = Evidence(1.0, 1.0, bytes(1 << 20))
    async with serving(ScriptedShard(answer=[thumbnail] * 64), write_timeout_s=5.0) as address:
        assert len(await ask(address)) == 64


async def test_a_call_without_the_token_is_refused(serving) -> None:
    async with serving(ScriptedShard(), token="right") as address:
        for metadata in (None, (("authorization", "Bearer wrong"),), (("authorization", "right"),)):
            found, info, _ = await status_of(ask(address, metadata=metadata))
            assert (found, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
            found, *_ = await status_of(
                call_cameras(address, "ListCameras", pb.ListCamerasRequest(), metadata=metadata)
            )
            assert found is grpc.StatusCode.UNAUTHENTICATED
        events = await ask(address, metadata=(("authorization", "Bearer right"),))

    assert events[-1].done.answer == "red car"


async def test_a_client_that_knows_only_reflection_lists_cameras_and_asks(serving) -> None:
    def converse(address: str) -> tuple[list[str], list[dict], list[dict]]:
        client = ReflectedClient(address)
        try:
            listed = list(client.call("hermes.v1.CameraService", "ListCameras", {}))
            answered = list(client.call("hermes.v1.QueryService", "Ask", {"camera": "gate", "question": "what"}))
            return client.services(), listed, answered
        finally:
            client.close()

    async with serving(ScriptedShard()) as address:
        services, listed, answered = await asyncio.to_thread(converse, address)

    assert {"hermes.v1.CameraService", "hermes.v1.QueryService"} <= set(services)
    assert listed[0]["cameras"][0]["name"] == "gate"
    assert answered[-1]["done"]["answer"] == "red car"


async def test_two_routers_never_share_a_port() -> None:
    first = Router(Startup(scripted_fleet(ScriptedShard())), RouterConfig(port=0), None)
    port = int((await first.start()).rpartition(":")[2])
    second = Router(Startup(scripted_fleet(ScriptedShard())), RouterConfig(port=port), None)
    try:
        with pytest.raises(AddressInUse, match=str(port)):
            await second.start()
    finally:
        await first.stop()
        await second.stop()


@pytest.mark.parametrize("key", ["port", "health_port"])
async def test_a_taken_port_is_refused_with_its_key(key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = {"port": 0, "health_port": 0, key: other.getsockname()[1]}
        router = Router(Startup(scripted_fleet(ScriptedShard())), RouterConfig(**taken), None)
        with pytest.raises(AddressInUse, match=rf"choose another router\.{key}"):
            await router.start()
        await router.stop()
