"""Shards of one fleet whose models read other memories, as after new weights in the folder of a running deployment."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import task_cancellation
from actors.config.shards import ScalingConfig
from actors.errors import InvalidShard
from actors.fleet.actions import Assign, Move, Resize
from actors.fleet.plan import plan
from actors.fleet.scaler import FleetSize
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.snapshot import CameraSnapshot, FleetSnapshot, SizeSnapshot
from tests.actors.fleet.planned_world import ModelShard, World
from tests.actors.fleet.test_plan import fleet_of, shard
from tests.actors.scripted import ScriptedPool, ScriptedShard, camera_spec, scripted_fleet
from tests.virtual_time import until

OLD, NEW = ("a" * 64,), ("b" * 64,)
BOTH = (*NEW, *OLD)  # a later version of the old model, which reads its memories


def world_of(*models: tuple[str, ...], load: float = 0.0, slots: int = 8) -> World:
    return World([ModelShard(slots=slots, load=load, fingerprints=fingerprints) for fingerprints in models])


def watched(world: World, *counts: int) -> World:
    """So many cameras on each shard, each watched there for a moment."""
    for index, count in enumerate(counts):
        for number in range(count):
            world.want(f"camera{index}.{number}")
            world.put(f"camera{index}.{number}", index)
    world.run(2)
    world.actions.clear()
    return world


def counts_of(world: World) -> list[int]:
    return [len(shard.cameras) for shard in world.shards]


def camera(number: int, *, on: int = 0, fingerprint: str = OLD[0], **fields: float) -> CameraSnapshot:
    return CameraSnapshot(id=f"c{number}", shard=on, newest_epoch=1, fingerprint=fingerprint, **fields)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from([OLD, NEW, BOTH, ()]), min_size=2, max_size=4), st.sampled_from([0.0, 0.1]), st.data())
@settings(deadline=None, max_examples=60)
def test_no_camera_moves_for_balance_to_a_shard_that_cannot_read_its_memory(
    models: list[tuple[str, ...]], load: float, data: st.DataObject
) -> None:
    world = watched(world_of(*models, load=load), *(data.draw(st.integers(0, 8)) for _ in models))
    for _ in range(200):
        world.actions.clear()
        written = {name: record.fingerprint for name, record in world.state.cameras_by_id.items()}
        world.step()
        for move in (action for action in world.actions if isinstance(action, Move)):
            readable = models[move.to_shard]
            assert not (readable and written[move.camera_id]) or written[move.camera_id] in readable


def test_a_shard_with_another_model_gets_none_of_the_cameras_and_the_others_are_balanced() -> None:
    """It used to get its share of them, and each began anew there."""
    world = watched(world_of(OLD, OLD, NEW), 6, 0, 0)
    world.run(100)

    assert counts_of(world) == [3, 3, 0]


def test_a_shard_that_reads_the_memories_of_the_model_before_gets_its_share() -> None:
    world = watched(world_of(OLD, BOTH), 6, 0)
    world.run(100)

    assert counts_of(world) == [3, 3]


def test_load_moves_no_camera_to_a_shard_with_another_model() -> None:
    world = watched(world_of(OLD, NEW, load=0.4), 2, 0)
    world.run(300)

    assert counts_of(world) == [2, 0]


def test_the_cameras_of_a_lost_shard_go_where_their_memories_are_read_a_spare_too() -> None:
    lost = shard(0, is_up=False, has_expired=True, fingerprints=OLD)
    full = [f"x{number}" for number in range(3)]
    reader, other = shard(1, *full, fingerprints=OLD), shard(2, fingerprints=NEW)
    others = tuple(CameraSnapshot(id=name, shard=1, newest_epoch=1, fingerprint=OLD[0]) for name in full)
    cameras = tuple(camera(number, last_question_s=-number) for number in range(2))

    assert plan(fleet_of(lost, reader, other, cameras=(*cameras, *others))) == (Assign("c0", 1), Assign("c1", 2))

    numbers = ShardNumbers.fixed(3).limited(3, 3, 1)
    lost_one = fleet_of(lost, shard(1, fingerprints=NEW), shard(2, fingerprints=OLD), cameras=cameras[:1])
    spare = FleetSnapshot(
        now_s=100.0, size=SizeSnapshot(numbers=numbers), shards=lost_one.shards, cameras=lost_one.cameras
    )
    assert Assign("c0", 2) in plan(spare)


def test_a_shard_that_came_back_with_another_model_gets_its_cameras_only_if_no_other_reads_their_memories() -> None:
    back = shard(0, fingerprints=NEW)

    assert plan(fleet_of(back, shard(1, fingerprints=OLD), cameras=(camera(0),))) == (Assign("c0", 1),)
    assert plan(fleet_of(back, shard(1, fingerprints=NEW), cameras=(camera(0),))) == (Assign("c0", 0),)


def test_a_draining_shard_gives_its_cameras_to_a_fuller_one_that_reads_their_memories() -> None:
    draining = shard(0, "c0", is_draining=True, fingerprints=OLD)
    reader = shard(2, "x", fingerprints=OLD)
    cameras = (camera(0), CameraSnapshot(id="x", shard=2, newest_epoch=1))

    assert plan(fleet_of(draining, shard(1, fingerprints=NEW), reader, cameras=cameras)) == (Move("c0", 0, 2),)


@pytest.mark.parametrize(("models", "target"), [((OLD, OLD), 1), ((OLD, NEW), 2)])
def test_fewer_shards_are_enough_only_where_every_memory_is_read_by_those_that_stay(
    models: tuple[tuple[str, ...], ...], target: int
) -> None:
    numbers = ShardNumbers.fixed(2).limited(1, 2, 0)
    size = SizeSnapshot(numbers=numbers, scaling=ScalingConfig(down_after_s=60.0), slots=8)
    world = World([ModelShard(slots=8, fingerprints=fingerprints) for fingerprints in models], size)
    watched(world, 1, 1)
    world.run(200)

    assert world.state.size.numbers.target == target
    assert any(isinstance(action, Resize) for action in world.actions) == (target == 1)


async def test_a_move_by_hand_takes_the_memory_along_or_is_refused_and_names_both_models() -> None:
    shards = [ScriptedShard(pid=100 * number) for number in (1, 2, 3)]
    for scripted, fingerprints in zip(shards, (OLD, NEW, OLD), strict=True):
        scripted.fingerprints = fingerprints
    fleet = scripted_fleet(*shards)
    await fleet.reconcile()
    await fleet.add_camera(camera_spec("a"))

    with pytest.raises(InvalidShard, match=rf"'a': shard 1 runs another model \({'b' * 12}\).* \(of {'a' * 12}\)"):
        await fleet.move_camera("a", 1)
    assert (await fleet.move_camera("a")).shard_index == 2
    await shards[0].drain()
    await fleet.list_shards()
    with pytest.raises(InvalidShard, match="'a': shard 1 runs another model"):
        await fleet.move_camera("a")


async def test_a_camera_whose_memory_no_shard_reads_any_more_begins_anew_and_the_log_says_so() -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200)]
    shards[0].fingerprints, shards[1].fingerprints = OLD, NEW
    fleet = scripted_fleet(*shards)
    await fleet.reconcile()
    await fleet.add_camera(camera_spec("a"))
    with structlog.testing.capture_logs() as events:
        loop = asyncio.create_task(fleet.run())
        try:
            shards[0].is_down = True
            await until(lambda: "a" in shards[1].assignments)
            await until(lambda: any(event["event"] == "memory_left_behind" for event in events))
        finally:
            await task_cancellation.end(loop)

    left = next(event for event in events if event["event"] == "memory_left_behind")
    assert (left["camera"], left["shard"]) == ("a", 1)
    assert (left["fingerprint"], left["readable"]) == ("a" * 12, ["b" * 12])


async def test_a_new_model_replaces_the_old_one_and_the_log_says_which_memories_stay_behind() -> None:
    shards = [ScriptedShard(pid=100 * number) for number in (1, 2, 3)]
    for scripted in shards:
        scripted.generation, scripted.fingerprints = "old", OLD
    pool = ReplacingPool(shards)
    fleet = scripted_fleet(size=FleetSize(pool=pool, numbers=ShardNumbers.fixed(3), generation="new"))
    await fleet.reconcile()
    for name in ("a", "b", "c", "d"):
        await fleet.add_camera(camera_spec(name))
    with structlog.testing.capture_logs() as events:
        loop = asyncio.create_task(fleet.run())
        try:
            await until(lambda: all(scripted.generation == "new" for scripted in shards))
            await until(lambda: sum(len(scripted.assignments) for scripted in shards) == 4)
        finally:
            await task_cancellation.end(loop)

    left = [event for event in events if event["event"] == "memory_left_behind"]
    assert sorted(event["camera"] for event in left) == ["a", "b", "c", "d"]  # once each
    assert {(event["fingerprint"], *event["readable"]) for event in left} == {("a" * 12, "b" * 12)}


class ReplacingPool(ScriptedPool):
    """Replaces shards by ones with the new model."""

    async def replace(self, index: int) -> None:
        self.generation = "new"
        await super().replace(index)
        self.shards[index].fingerprints = NEW
