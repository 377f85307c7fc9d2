"""Over a real connection: a changed camera keeps its identity, a memory is erased, a shard drained and undrained."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from actors.errors import ServiceError
from protos import hermes_v1_pb2 as pb
from tests.actors.conftest import Serving
from tests.actors.scripted import ScriptedShard
from tests.actors.server.calls import call_cameras, call_fleet, status_of

SOURCE = "rtsp://user:canary@camera.example/1?key=canary"


def update(*fields: str, **values: object) -> pb.UpdateCameraRequest:
    return pb.UpdateCameraRequest(name="gate", update_mask=FieldMask(paths=fields), **values)


async def test_options_and_credentials_change_and_the_identity_stays(serving: Serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        before = (await call_cameras(address, "GetCamera", pb.GetCameraRequest(name="gate"))).camera
        request = update("gate", "labels", "frames_per_second", gate=False, labels={"floor": "1"}, frames_per_second=2)
        changed = (await call_cameras(address, "UpdateCamera", request)).camera
        url = SOURCE.replace("user:canary", "other:secret")
        moved = (await call_cameras(address, "UpdateCamera", update("url", url=url))).camera

    assert before.id
    assert (changed.id, changed.gate, dict(changed.labels), changed.frames_per_second) == (
        before.id,
        False,
        {"floor": "1"},
        2.0,
    )
    assert (moved.id, moved.gate, dict(moved.labels)) == (before.id, False, {"floor": "1"})
    assert shard.assignments["gate"].spec.url == url
    assert "secret" not in str(moved)


async def test_another_source_is_refused_unless_the_memory_may_go(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        before = (await call_cameras(address, "GetCamera", pb.GetCameraRequest(name="gate"))).camera
        request = update("url", url="rtsp://user:canary@camera.example/2")
        code, info, message = await status_of(call_cameras(address, "UpdateCamera", request))
        kept = (await call_cameras(address, "GetCamera", pb.GetCameraRequest(name="gate"))).camera
        request.allow_memory_loss = True
        replaced = (await call_cameras(address, "UpdateCamera", request)).camera

    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SOURCE_CHANGED")
    assert "memory" in message
    assert "canary" not in message
    assert (kept.id, kept.url) == (before.id, before.url)
    assert replaced.id
    assert replaced.id != before.id


async def test_two_updates_of_different_fields_at_once_lose_nothing(serving: Serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        calls = (
            call_cameras(address, "UpdateCamera", update("gate", gate=False)),
            call_cameras(address, "UpdateCamera", update("labels", labels={"floor": "1"})),
        )
        ends = await asyncio.gather(*calls, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
        camera = (await call_cameras(address, "GetCamera", pb.GetCameraRequest(name="gate"))).camera

    assert {error.code() for error in errors} <= {grpc.StatusCode.ABORTED}
    changes = (not camera.gate) + (camera.labels == {"floor": "1"})
    assert changes == 2 - len(errors), "a change was acknowledged and lost"


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (update(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (update("name"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (update("url"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CAMERA"),
        (update("masks", masks=[pb.Mask()]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MASK"),
        (
            pb.UpdateCameraRequest(name="gaet", update_mask=FieldMask(paths=["gate"])),
            grpc.StatusCode.NOT_FOUND,
            "UNKNOWN_CAMERA",
        ),
    ],
)
async def test_an_invalid_update_is_refused_and_changes_nothing(
    serving: Serving, request_: pb.UpdateCameraRequest, code: grpc.StatusCode, reason: str
) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        before = shard.assignments["gate"]
        found, info, _ = await status_of(call_cameras(address, "UpdateCamera", request_))

    assert (found, info.reason) == (code, reason)
    assert shard.assignments["gate"] == before


async def test_a_memory_is_erased_and_the_camera_goes_on(serving: Serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        erased = (await call_cameras(address, "EraseMemory", pb.EraseMemoryRequest(name="gate"))).camera
        found, info, _ = await status_of(call_cameras(address, "EraseMemory", pb.EraseMemoryRequest(name="gaet")))

    assert shard.forgotten == ["gate"]
    assert "gate" in shard.assignments
    assert (erased.name, erased.state) == ("gate", pb.CAMERA_STATE_LIVE)
    assert (found, info.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_CAMERA")


async def test_the_last_open_shard_is_drained_by_force_alone_and_says_why_a_camera_stayed(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        found, info, message = await status_of(call_fleet(address, "DrainShard", pb.DrainShardRequest(shard=0)))
        forced = await call_fleet(address, "DrainShard", pb.DrainShardRequest(shard=0, force=True))
        undrained = await call_fleet(address, "UndrainShard", pb.UndrainShardRequest(shard=0))

    assert (found, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_SHARD")
    assert "force" in message
    assert forced.shard.state == pb.SHARD_STATE_DRAINING
    assert [stayed.name for stayed in forced.not_moved] == ["gate"]
    assert forced.not_moved[0].reason
    assert undrained.shard.state == pb.SHARD_STATE_UP


async def test_an_undrained_shard_takes_cameras_again(serving: Serving) -> None:
    async with serving(ScriptedShard(), ScriptedShard(pid=2)) as address:
        drained = await call_fleet(address, "DrainShard", pb.DrainShardRequest(shard=0))
        refused, *_ = await status_of(call_fleet(address, "MigrateCamera", to_shard(0)))
        await call_fleet(address, "UndrainShard", pb.UndrainShardRequest(shard=0))
        moved = await call_fleet(address, "MigrateCamera", to_shard(0))
        unknown, *_ = await status_of(call_fleet(address, "UndrainShard", pb.UndrainShardRequest(shard=7)))

    assert (list(drained.shard.cameras), list(drained.not_moved)) == ([], [])
    assert moved.camera.shard == 0
    assert {refused, unknown} == {grpc.StatusCode.FAILED_PRECONDITION}


async def test_a_dead_and_an_odd_shard_are_rows_that_say_so_and_cameras_are_listed(serving: Serving) -> None:
    dead, odd = ScriptedShard(pid=2), ScriptedShard(pid=3)
    async with serving(ScriptedShard(), dead, odd) as address:
        dead.is_down, odd.status_error = True, ServiceError("no such attribute 'canary'")
        listed = (await call_fleet(address, "ListShards", pb.ListShardsRequest())).shards
        cameras = (await call_cameras(address, "ListCameras", pb.ListCamerasRequest())).cameras

    assert [row.state for row in listed] == [pb.SHARD_STATE_UP, pb.SHARD_STATE_AWAY, pb.SHARD_STATE_FAILED]
    assert listed[0].detail == ""
    assert "its process ended" in listed[1].detail
    assert "no such attribute" in listed[2].detail
    assert [camera.name for camera in cameras] == ["gate"]


@pytest.mark.parametrize(
    ("call", "method", "request_"),
    [
        (call_cameras, "UpdateCamera", update("gate")),
        (call_cameras, "EraseMemory", pb.EraseMemoryRequest(name="gate")),
        (call_fleet, "UndrainShard", pb.UndrainShardRequest()),
    ],
)
async def test_a_change_needs_the_token(serving: Serving, call, method: str, request_) -> None:
    async with serving(ScriptedShard(), token="right") as address:
        found, info, _ = await status_of(call(address, method, request_))

    assert (found, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


def to_shard(index: int) -> pb.MigrateCameraRequest:
    return pb.MigrateCameraRequest(name="gate", to_shard=index)
