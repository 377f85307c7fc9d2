"""A shard is drained in parallel, with reasons for what stays, and can be opened again."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from actors import task_cancellation
from actors.errors import InvalidShard
from actors.fleet.registry import InMemoryRegistry
from actors.shard.interface import Assignment
from cache_store.errors import StoreUnavailable
from pipeline.cameras import CameraState, TooManyCameras
from tests.actors.scripted import ScriptedShard, camera_spec, scripted_fleet
from tests.virtual_time import now_s, until


@pytest.mark.parametrize("state", [CameraState.LIVE, CameraState.BACKING_OFF, CameraState.CONNECTING])
async def test_sixteen_cameras_without_pictures_leave_a_shard_within_ten_seconds(state: CameraState) -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200)]
    shards[1].standby_since_s = None
    fleet = scripted_fleet(*shards)
    shards[1].is_down = True
    await fleet.reconcile()
    fleet.configure(camera_spec(f"camera{number}") for number in range(16))
    for number in range(16):
        for shard in shards:
            shard.states[f"camera{number}"] = (state, "")
    await fleet.reconcile()
    assert len(shards[0].assignments) == 16
    shards[1].is_down = False
    await fleet.reconcile()
    await asyncio.sleep(2.0)

    began_s = now_s()
    result = await fleet.drain(0)

    assert now_s() - began_s <= 10.0
    assert (result.shard.cameras, result.not_moved) == ((), ())
    assert len(shards[1].assignments) == 16


async def test_a_shard_shows_how_many_cameras_are_left_while_it_drains() -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200)]
    shards[1].standby_since_s = None
    fleet = scripted_fleet(*shards)
    shards[1].is_down = True
    await fleet.reconcile()
    fleet.configure(camera_spec(f"camera{number}") for number in range(16))
    await fleet.reconcile()
    shards[1].is_down = False
    await asyncio.sleep(2.0)
    await fleet.reconcile()

    drain = asyncio.create_task(fleet.drain(0))
    left = set()
    while not drain.done():
        left.add(len((await fleet.list_shards())[0].cameras))
        await asyncio.sleep(0.5)

    assert len(left) > 2
    assert max(left) == 16


async def test_undrain_lets_a_shard_take_cameras_again(fleet, shards) -> None:
    await fleet.drain(0)
    await fleet.add_camera(camera_spec("a"))
    assert "a" in shards[1].assignments

    view = await fleet.undrain(0)
    await fleet.add_camera(camera_spec("b"))

    assert not view.is_draining
    assert "b" in shards[0].assignments
    with pytest.raises(InvalidShard, match="there are 0 to 1"):
        await fleet.undrain(2)


async def test_the_last_open_shard_is_drained_only_by_force(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    await fleet.drain(1)
    with pytest.raises(InvalidShard, match="shard 0: no other shard takes cameras, so its 1 cameras would stay"):
        await fleet.drain(0)
    assert not shards[0].is_draining

    result = await fleet.drain(0, force=True)

    assert shards[0].is_draining
    assert result.not_moved == (("a", "no other shard that takes cameras has a free slot"),)


async def test_a_drain_that_did_not_finish_says_why_for_each_camera(fleet, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet.add_camera(camera_spec(name))
    await asyncio.sleep(2.0)
    shards[1].add_error = StoreUnavailable("store redis://host: refused")

    result = await fleet.drain(0)

    assert result.not_moved == (("a", "store redis://host: refused"), ("c", "store redis://host: refused"))


async def test_a_camera_that_cannot_move_is_logged_once_and_again_only_after_it_could_move(shards) -> None:
    def logged() -> int:
        return len([line for line in logs if line["event"] == "camera_not_moved"])

    fleet = scripted_fleet(*shards)
    await fleet.add_camera(camera_spec("a"))
    shards[1].add_error = TooManyCameras("all slots are taken")
    await shards[0].drain()
    with capture_logs() as logs:
        loop = asyncio.create_task(fleet.run())
        await asyncio.sleep(60.0)
        assert logged() == 1
        shards[1].add_error = None
        await asyncio.sleep(60.0)
        assert not shards[0].assignments
        shards[0].add_error = TooManyCameras("all slots are taken")
        await shards[0].undrain()
        await shards[1].drain()
        await asyncio.sleep(60.0)
        await task_cancellation.end(loop)

    assert logged() == 2


async def test_a_fleet_that_does_not_lead_drains_through_the_leader(shards) -> None:
    for shard in shards:
        shard.epoch = 7
    registry = InMemoryRegistry()
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(camera_spec("a"))
    other = scripted_fleet(*shards, registry=registry, is_leader=lambda: False)
    await other.reconcile()
    loop = asyncio.create_task(fleet.run())
    try:
        result = await other.drain(0)
    finally:
        await task_cancellation.end(loop)

    assert result.not_moved == ()
    assert list(shards[1].assignments) == ["a"]


async def test_a_camera_that_orphans_keep_from_its_shard_moves_on_as_soon_as_there_is_room() -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200, max_cameras=1)]
    shards[1].assignments["x"] = Assignment(id="x", spec=camera_spec("x"), started_s=0.0)
    fleet = scripted_fleet(*shards)
    await fleet.add_camera(camera_spec("a"))
    await shards[0].drain()
    loop = asyncio.create_task(fleet.run())
    try:
        await until(lambda: list(shards[1].assignments) == ["a"])
    finally:
        await task_cancellation.end(loop)
