"""Cameras move between running shards: on request, away from a draining shard, and to where there is more capacity."""

from __future__ import annotations

import asyncio

import pytest

from actors import task_cancellation
from actors.errors import CameraRecovering
from actors.fleet.registry import InMemoryRegistry
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraState, TooManyCameras
from tests.actors.scripted import ANSWER, ScriptedShard, ask, camera_spec, scripted_fleet
from tests.virtual_time import until


async def test_a_camera_moves_to_the_emptiest_other_shard_and_its_memory_stays(fleet, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet.add_camera(camera_spec(name))

    view = await fleet.move_camera("a")

    assert view.shard_index == 1
    assert sorted(shards[1].assignments) == ["a", "b"]
    assert shards[0].forgotten == []
    assert await ask(fleet, "a") == list(ANSWER)


async def test_a_camera_that_finds_no_free_slot_on_its_target_stays(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[1].add_error = TooManyCameras("camera 'a': all 0 slots are taken")

    with pytest.raises(TooManyCameras):
        await fleet.move_camera("a", 1)
    await fleet.reconcile()

    assert (await fleet.get_camera("a")).shard_index == 0
    assert await ask(fleet, "a") == list(ANSWER)


async def test_moving_a_camera_that_another_server_removed_says_that_there_is_none(shards) -> None:
    """It used to say once that the camera was not restored yet."""
    registry = InMemoryRegistry()
    fleet, other = (scripted_fleet(*shards, registry=registry) for _ in range(2))
    await fleet.add_camera(camera_spec("a"))
    await other.remove_camera("a")

    with pytest.raises(UnknownCamera, match="'a'"):
        await fleet.move_camera("a", 1)


async def test_a_camera_that_is_not_restored_yet_does_not_keep_the_others_on_a_draining_shard(fleet, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet.add_camera(camera_spec(name))
    del shards[0].assignments["a"]

    with pytest.raises(CameraRecovering, match="'a': not restored yet on shard 0"):
        await fleet.move_camera("a")
    drained = await fleet.drain(0)

    assert drained.not_moved == (("a", "not restored yet on shard 0"),)
    assert sorted(shards[1].assignments) == ["b", "c"]


async def test_a_shard_that_starts_later_gets_its_share_of_the_cameras(shards) -> None:
    shards[1].is_down = True
    fleet = scripted_fleet(*shards)
    await fleet.reconcile()
    for name in ("a", "b", "c", "d"):
        await fleet.add_camera(camera_spec(name))

    shards[1].is_down = False
    loop = asyncio.create_task(fleet.run())
    try:
        await until(lambda: len(shards[1].assignments) == 2)
        await asyncio.sleep(10.0)
    finally:
        await task_cancellation.end(loop)

    assert [len(shard.assignments) for shard in shards] == [2, 2]


async def test_a_move_by_an_operator_is_not_undone(fleet, shards) -> None:
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    loop = asyncio.create_task(fleet.run())
    try:
        await asyncio.sleep(3.0)
        await fleet.move_camera("a", 1)
        await asyncio.sleep(30.0)
    finally:
        await task_cancellation.end(loop)

    assert [sorted(shard.assignments) for shard in shards] == [[], ["a", "b"]]


async def test_the_busiest_shard_gives_its_least_recently_asked_camera_to_the_idlest(fleet, shards) -> None:
    for name in ("a", "b", "c", "d"):
        await fleet.add_camera(camera_spec(name))
    loop = asyncio.create_task(fleet.run())
    try:
        await asyncio.sleep(3.0)
        await ask(fleet, "a")
        shards[0].busy_share = 0.9
        await asyncio.sleep(70.0)
    finally:
        await task_cancellation.end(loop)

    assert [sorted(shard.assignments) for shard in shards] == [["a"], ["b", "c", "d"]]


async def test_a_shard_that_reports_that_it_is_draining_is_emptied(fleet, shards) -> None:
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    await shards[0].drain()

    loop = asyncio.create_task(fleet.run())
    try:
        await until(lambda: not shards[0].assignments)
    finally:
        await task_cancellation.end(loop)

    assert sorted(shards[1].assignments) == ["a", "b"]


async def test_a_spare_shard_stays_empty_while_the_others_have_free_slots() -> None:
    shards = [ScriptedShard(pid=100 * (number + 1), max_cameras=2) for number in range(3)]
    fleet = scripted_fleet(*shards, spares=1)
    await fleet.reconcile()
    for name in ("a", "b", "c", "d", "e"):
        await fleet.add_camera(camera_spec(name))

    assert [sorted(shard.assignments) for shard in shards] == [["a", "c"], ["b", "d"], ["e"]]


async def test_a_spare_takes_the_cameras_of_a_shard_that_is_down_and_the_next_empty_shard_is_the_spare() -> None:
    shards = [ScriptedShard(pid=number) for number in (100, 200, 300)]
    fleet = scripted_fleet(*shards, spares=1)
    for name in ("a", "b", "c", "d"):
        await fleet.add_camera(camera_spec(name))
    assert [len(shard.assignments) for shard in shards] == [2, 2, 0]

    running = asyncio.create_task(fleet.run())
    shards[0].is_down = True
    await until(lambda: len(shards[2].assignments) == 2)
    assert len(shards[1].assignments) == 2
    shards[0].restart()
    shards[0].is_down = False
    await asyncio.sleep(120.0)

    assert [len(shard.assignments) for shard in shards] == [0, 2, 2]
    await task_cancellation.end(running)


async def test_a_move_of_a_camera_that_another_server_removes_meanwhile_says_that_it_is_gone(shards) -> None:
    """The error used to be what the camera shows, then that it was not restored yet."""
    registry = InMemoryRegistry()
    one = scripted_fleet(*shards, registry=registry)
    other = scripted_fleet(*shards, registry=registry, is_leader=lambda: False)
    await one.add_camera(camera_spec("a"))
    shards[0].states["a"] = (CameraState.LIVE, "a drawn street, seed 1")
    await one.get_camera("a")
    await other.reconcile()
    shards[1].add_delay_s = 1.0
    move = asyncio.create_task(one.move_camera("a", 1))
    await asyncio.sleep(0.5)
    await other.remove_camera("a")

    with pytest.raises(UnknownCamera, match="'a'"):
        await move  # this server has not read the removal before


async def test_a_move_of_a_camera_that_this_server_removes_meanwhile_says_that_it_is_gone(shards) -> None:
    fleet = scripted_fleet(*shards)
    await fleet.add_camera(camera_spec("a"))
    shards[1].add_delay_s = 1.0
    move = asyncio.create_task(fleet.move_camera("a", 1))
    await asyncio.sleep(0.5)
    shards[0].assignments.clear()
    removal = asyncio.create_task(fleet.remove_camera("a"))

    with pytest.raises(UnknownCamera):
        await move
    await removal


async def test_a_move_whose_caller_gives_up_keeps_no_slot(fleet, shards) -> None:
    """Its standby used to keep one for 30 s."""
    await fleet.add_camera(camera_spec("a"))
    shards[1].standby_since_s = None
    move = asyncio.create_task(fleet.move_camera("a", 1))
    await until(lambda: bool(shards[1].standby))

    await task_cancellation.end(move)

    assert shards[1].standby == set()
    assert await ask(fleet, "a") == list(ANSWER)
