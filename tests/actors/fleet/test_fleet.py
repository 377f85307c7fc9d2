"""A fleet shows its cameras and shards, drains a shard, and refuses what does not exist."""

from __future__ import annotations

import pytest

from actors.errors import InvalidShard
from pipeline.answers import UnknownCamera
from tests.actors.scripted import ANSWER, RecordingEraser, ScriptedShard, ask, camera_spec, scripted_fleet


async def test_cameras_are_spread_over_the_shards(fleet, shards) -> None:
    for name in ("a", "b", "c", "d"):
        await fleet.add_camera(camera_spec(name))

    assert [sorted(shard.assignments) for shard in shards] == [["a", "c"], ["b", "d"]]


async def test_a_shard_that_is_down_gets_no_new_camera(fleet, shards) -> None:
    shards[0].is_down = True
    await fleet.reconcile()

    view = await fleet.add_camera(camera_spec("a"))

    assert view.shard_index == 1


async def test_a_removed_camera_does_not_come_back(shards) -> None:
    eraser = RecordingEraser()
    fleet = scripted_fleet(*shards, eraser=eraser.seam)
    camera_id = (await fleet.add_camera(camera_spec("a"))).status.id
    await fleet.remove_camera("a")
    await fleet.reconcile()

    assert shards[0].assignments == {}
    assert eraser.calls == [("fence", camera_id), ("delete", camera_id)]
    with pytest.raises(UnknownCamera, match="no camera is"):
        await ask(fleet, "a")


async def test_an_unknown_camera_is_named_with_the_existing_cameras(fleet) -> None:
    await fleet.add_camera(camera_spec("gate"))

    with pytest.raises(UnknownCamera, match=r"'gaet': not watched here \(nearest name among 1: gate\)"):
        await fleet.get_camera("gaet")


async def test_the_other_shard_answers_while_one_is_down(fleet, shards) -> None:
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    shards[0].is_down = True
    await fleet.reconcile()

    assert await ask(fleet, "b") == list(ANSWER)
    assert fleet.is_ready


async def test_a_fleet_is_ready_once_a_shard_was_seen_or_there_is_no_camera_to_ask(fleet, shards) -> None:
    assert not fleet.is_ready
    for shard in shards:
        shard.is_down = True
    await fleet.reconcile()
    assert fleet.is_ready
    fleet.configure([camera_spec("gate")])
    await fleet.reconcile()
    assert not fleet.is_ready

    shards[0].is_down = False
    await fleet.reconcile()

    assert fleet.is_ready


async def test_headroom_is_the_number_of_free_slots_left_when_the_fullest_shard_fails(fleet, shards) -> None:
    assert scripted_fleet(ScriptedShard()).headroom == 0
    await fleet.reconcile()
    assert fleet.headroom == 16
    for number in range(10):
        await fleet.add_camera(camera_spec(f"camera{number}"))
    assert fleet.headroom == 16 - 10
    shards[1].is_down = True
    await fleet.reconcile()
    assert fleet.headroom == -10


async def test_a_drained_shard_is_empty_and_gets_no_new_camera(fleet, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet.add_camera(camera_spec(name))

    drained = await fleet.drain(0)
    await fleet.add_camera(camera_spec("d"))

    assert (drained.shard.is_draining, drained.shard.cameras, drained.not_moved) == (True, (), ())
    assert shards[0].assignments == {}
    assert [shard.cameras for shard in await fleet.list_shards()] == [(), ("a", "b", "c", "d")]


@pytest.mark.parametrize(
    ("index", "reason"),
    [(2, "no such shard, there are 0 to 1"), (-1, "there are 0 to 1"), (1, "takes no cameras now")],
)
async def test_a_camera_cannot_move_to_a_shard_that_does_not_exist_or_is_down(fleet, shards, index, reason) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[1].is_down = True
    await fleet.reconcile()

    with pytest.raises(InvalidShard, match=reason):
        await fleet.move_camera("a", index)

    assert await ask(fleet, "a") == list(ANSWER)
