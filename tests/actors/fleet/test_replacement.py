"""Shards of an older generation are replaced one after the other, and every camera is watched all the while."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from actors import task_cancellation
from actors.fleet.actions import Move, Replace, Resize, Wait
from actors.fleet.replacement import NO_ROOM
from actors.fleet.scaler import FleetSize
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.snapshot import SizeSnapshot
from tests.actors.fleet.planned_world import ModelShard, World
from tests.actors.scripted import ScriptedPool, ScriptedShard, camera_spec, scripted_fleet
from tests.virtual_time import until

SLOTS = 4
OLD, NEW = "old", "new"


def world_of(generations: list[str], num_cameras: int, *, most: int | None = None) -> World:
    """Shards of these generations that watch so many cameras."""
    count = len(generations)
    numbers = ShardNumbers.fixed(count).limited(count, most or count, 0)
    shards = [ModelShard(slots=SLOTS, generation=OLD) for _ in generations]
    world = World(shards, SizeSnapshot(numbers=numbers, slots=SLOTS, generation=OLD))
    for number in range(num_cameras):
        world.want(f"camera{number}")
    world.run(60)
    for shard, generation in zip(shards, generations, strict=True):
        shard.generation = generation
    world.state.size = SizeSnapshot(numbers=numbers, slots=SLOTS, generation=NEW)
    world.actions.clear()
    return world


@given(st.lists(st.sampled_from([OLD, NEW]), min_size=2, max_size=5), st.data())
@settings(deadline=None, max_examples=60)
def test_every_shard_is_replaced_and_every_camera_is_watched_all_the_while(
    generations: list[str], data: st.DataObject
) -> None:
    """That a shard is empty, and all others are up, when it is replaced is asserted where the world does so."""
    world = world_of(generations, data.draw(st.integers(0, SLOTS * (len(generations) - 1))))
    for _ in range(200):
        world.step()
        assert all(world.owners(name) for name in world.state.cameras)

    assert [shard.generation for shard in world.shards] == [NEW] * len(generations)
    replaced = [action.shard for action in world.actions if isinstance(action, Replace)]
    assert sorted(replaced) == [index for index, generation in enumerate(generations) if generation == OLD]
    world.actions.clear()
    world.run(30)
    assert not any(isinstance(action, Move | Replace) for action in world.actions)


def test_full_shards_get_one_more_for_the_time_of_the_replacement() -> None:
    world = world_of([OLD, OLD], 2 * SLOTS, most=3)
    world.run(100)
    assert [shard.generation for shard in world.shards] == [NEW] * 3
    assert [action.target for action in world.actions if isinstance(action, Resize)] == [3]
    assert all(world.owners(name) for name in world.state.cameras)


def test_full_shards_without_room_for_one_more_go_on_and_say_why_they_are_not_replaced() -> None:
    world = world_of([OLD, OLD], 2 * SLOTS)
    world.run(30)

    assert {action for action in world.actions if not isinstance(action, Wait)} == set()
    assert {action.reason for action in world.actions if isinstance(action, Wait)} == {NO_ROOM}
    assert all(world.owners(name) for name in world.state.cameras)


def test_a_generation_that_does_not_start_replaces_no_second_shard() -> None:
    world = world_of([OLD, OLD, OLD], 4)
    while not any(isinstance(action, Replace) for action in world.actions):
        world.step()
    for shard in world.shards:
        shard.starts_in = 10_000 if shard.generation == NEW else 0
    world.run(100)

    assert sorted(shard.generation for shard in world.shards) == [NEW, OLD, OLD]
    assert all(world.owners(name) for name in world.state.cameras)


def test_shards_of_a_fleet_that_does_not_say_which_generation_it_wants_stay() -> None:
    world = world_of([OLD, NEW], 3)
    world.state.size = SizeSnapshot(numbers=ShardNumbers.fixed(2), slots=SLOTS)
    world.run(30)

    assert not any(isinstance(action, Replace) for action in world.actions)


async def test_a_fleet_says_which_shards_are_older_until_newer_servers_see_to_them() -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200)]
    shards[0].generation, shards[1].generation = OLD, NEW
    size = FleetSize(pool=ScriptedPool(shards), numbers=ShardNumbers.fixed(2), generation=OLD)
    fleet = scripted_fleet(size=size)
    older = "runs an older generation of code or settings, until its cameras have moved"
    assert [shard.detail for shard in await fleet.list_shards()] == ["", older]

    fleet.expect("")

    assert [shard.detail for shard in await fleet.list_shards()] == ["", ""]


async def test_a_fleet_of_the_new_generation_replaces_the_shards_of_the_old_one_by_moves() -> None:
    shards = [ScriptedShard(pid=100 * number) for number in (1, 2, 3)]
    pool = ScriptedPool(shards)
    for shard in shards:
        shard.generation = OLD
    pool.generation = NEW
    fleet = scripted_fleet(size=FleetSize(pool=pool, numbers=ShardNumbers.fixed(3), generation=NEW))
    await fleet.reconcile()
    for name in ("a", "b", "c", "d"):
        await fleet.add_camera(camera_spec(name))
    loop = asyncio.create_task(fleet.run())
    try:
        await until(lambda: all(shard.generation == NEW for shard in shards))
        await until(lambda: sum(len(shard.assignments) for shard in shards) == 4)
    finally:
        await task_cancellation.end(loop)

    assert sorted(pool.ended) == [0, 1, 2]
    assert {"a", "b", "c", "d"} == {name for shard in shards for name in shard.assignments}
