"""The number of shards follows the cameras and the load: never too few, never too many, and it comes to rest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import task_cancellation
from actors.config.shards import ScalingConfig
from actors.errors import InvalidRequest, ShardUnavailable
from actors.fleet.actions import EndShard, Resize
from actors.fleet.fleet import Fleet
from actors.fleet.registry import InMemoryRegistry
from actors.fleet.scaler import FleetSize
from actors.fleet.shard_numbers import InMemoryNumbersStore, ShardNumbers
from actors.fleet.snapshot import SizeSnapshot
from actors.shard.interface import Assignment
from pipeline.cameras import CameraState, TooManyCameras
from tests.actors.fleet.planned_world import ModelShard, World
from tests.actors.scripted import ScriptedPool, ScriptedShard, camera_spec, scripted_fleet
from tests.virtual_time import until

MIN, MAX, SLOTS = 1, 5, 4
SCALING = ScalingConfig()
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 9)),
        st.tuples(st.just("remove"), st.integers(1, 9)),
        st.tuples(st.just("drain"), st.integers(0, 4)),
        st.tuples(st.just("undrain"), st.integers(0, 4)),
        st.tuples(st.just("load"), st.sampled_from((0.0, 0.1, 0.3))),
        st.tuples(st.just("run"), st.sampled_from((5, 60, 700))),
    ),
    max_size=12,
)


def world_of(*, spares: int = 0, fewest: int = MIN, most: int = MAX) -> World:
    numbers = ShardNumbers().limited(fewest, most, spares)
    size = SizeSnapshot(numbers=numbers, slots=SLOTS)
    return World([ModelShard(slots=SLOTS) for _ in range(numbers.started)], size, step_s=5.0)


class Cameras:
    """Adds and removes cameras of a world, as its clients do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0

    def apply(self, event: tuple[str, int | float]) -> None:
        world, (kind, value) = self._world, event
        match kind:
            case "add":
                for _ in range(int(value)):
                    if len(world.state.cameras) < MAX * SLOTS:
                        self._number += 1
                        world.want(f"camera{self._number}")
            case "remove":
                for name in list(world.state.cameras)[: int(value)]:
                    world.state.begin_removal(name, name)
            case "drain" | "undrain":
                if int(value) < len(world.shards):
                    world.shards[int(value)].is_draining = kind == "drain"
            case "load":
                world.load = float(value)
                for shard in world.shards:
                    shard.load = float(value)
            case "run":
                self._world.run(int(value))


@settings(deadline=None, max_examples=40)
@given(events=EVENTS, spares=st.integers(0, 1))
def test_the_target_stays_within_its_limits_and_no_shard_with_cameras_ends(
    events: list[tuple[str, int | float]], spares: int
) -> None:
    """That a shard that ends has no cameras is asserted where the world carries the end out."""
    world = world_of(spares=spares)
    cameras = Cameras(world)
    for event in events:
        cameras.apply(event)
        assert MIN <= world.state.size.numbers.target <= MAX
    world.run(2_000)
    world.actions.clear()

    world.run(2_000)

    assert [action for action in world.actions if isinstance(action, Resize | EndShard)] == []
    numbers, names = world.state.size.numbers, world.state.cameras
    assert numbers.started == numbers.target  # what is too much has ended, unless its cameras fit nowhere else
    room = SLOTS * sum(not shard.is_draining for shard in world.shards[: numbers.target])
    if len(names) <= room:
        assert all(len(world.owners(name)) == 1 for name in names)
    assert len(names) + SLOTS * spares <= room or numbers.target == MAX


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(1, 16), min_size=1, max_size=6), spares=st.integers(0, 1))
def test_between_two_ends_of_shards_lies_the_cool_down(counts: list[int], spares: int) -> None:
    """Whatever cameras come and go: the target falls only after fewer shards were enough for down_after_s."""
    world, number = world_of(spares=spares), 0
    targets: list[tuple[float, int]] = []
    for count in counts:
        while len(world.state.cameras) < count:
            number += 1
            world.want(f"camera{number}")
        for name in list(world.state.cameras)[count:]:
            world.state.begin_removal(name, name)
        for _ in range(30):
            world.step()
            targets.append((world.now_s, world.state.size.numbers.target))

    changed_s = 0.0
    for (_, before), (now_s, after) in itertools.pairwise(targets):
        if after < before:
            assert now_s - changed_s >= SCALING.down_after_s
        if after != before:
            changed_s = now_s


def test_the_seventeenth_camera_brings_a_shard_at_once_and_a_spare_one_more() -> None:
    for spares, shards in ((0, 2), (1, 3)):
        world = World(
            [ModelShard(slots=16) for _ in range(1 + spares)],
            SizeSnapshot(numbers=ShardNumbers().limited(1 + spares, 4, spares)),
        )
        for number in range(16):
            world.want(f"camera{number}")
        world.run(30)
        assert [action for action in world.actions if isinstance(action, Resize)] == []

        world.want("camera16")
        world.step()

        spare = ", 1 spare among them" if spares else ""
        assert world.actions[-1] == Resize(shards, f"17 cameras need {shards} shards of 16 slots{spare}")


def test_busy_devices_bring_a_shard_after_a_while_and_idle_ones_end_it_after_a_longer_one() -> None:
    world = world_of()
    Cameras(world).apply(("load", 0.3))
    Cameras(world).apply(("add", 4))  # they fill the one shard, which would work 120 % of the time

    world.run(25)
    assert world.state.size.numbers.target == 1
    world.run(15)
    assert world.state.size.numbers.target == 2
    world.run(200)
    assert [len(shard.cameras) for shard in world.shards] == [2, 2]

    Cameras(world).apply(("load", 0.1))
    world.run(290)
    assert world.state.size.numbers.target == 2
    world.run(100)
    assert [len(shard.cameras) for shard in world.shards] == [4, 0]
    assert world.state.shards[1].is_ended


def test_a_shard_that_waits_for_a_node_is_no_reason_for_another_and_ends_when_it_is_not_needed() -> None:
    world = world_of()
    Cameras(world).apply(("add", 5))
    world.step()
    world.shards[1].starts_in = 10_000
    world.run(600)
    assert world.state.size.numbers.target == 2

    Cameras(world).apply(("remove", 2))
    world.run(400)

    assert world.state.shards[1].is_ended
    assert len(world.owners("camera5")) == 1


async def test_a_server_that_starts_while_a_shard_is_being_emptied_goes_on_with_it(shards) -> None:
    registry = InMemoryRegistry()
    numbers = ShardNumbers(max=2, target=2, started=2)
    earlier = scripted_fleet(size=FleetSize(pool=ScriptedPool(shards), numbers=numbers), registry=registry)
    for name in ("a", "b"):
        await earlier.add_camera(camera_spec(name))
    assert [len(shard.assignments) for shard in shards] == [1, 1]
    pool = ScriptedPool(shards)
    size = FleetSize(pool=pool, numbers=replace(numbers, target=1))

    async with running(scripted_fleet(size=size, registry=registry)):
        await until(lambda: pool.ended == [1])

    assert sorted(shards[0].assignments) == ["a", "b"]


@asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[None]:
    await fleet.reconcile()
    loop = asyncio.create_task(fleet.run())
    try:
        yield
    finally:
        await task_cancellation.end(loop)


def growing(shards: list[ScriptedShard], store: InMemoryNumbersStore | None = None, *, most: int = 3) -> FleetSize:
    def fail(shard: ScriptedShard) -> None:
        shard.status_error = (
            ShardUnavailable("shard 1: waits for a node with 1 free GPU") if shard is not shards[0] else None
        )

    pool = ScriptedPool(shards, on_start=fail)
    return FleetSize(pool=pool, numbers=ShardNumbers().limited(1, most, 0), store=store or InMemoryNumbersStore())


async def test_shards_that_the_numbers_do_not_know_are_found_emptied_and_ended() -> None:
    """They ran on for ever, e.g. after all servers were restarted over an empty store: nothing else looks for them."""
    shards = [ScriptedShard(pid=100 * number) for number in (1, 2, 3)]
    pool = ScriptedPool(shards)
    pool.running = {0, 1, 2}
    watched = Assignment(id="earlier", spec=camera_spec("a"), started_s=500.0)
    forgotten = Assignment(id="forgotten", spec=camera_spec("b"), started_s=500.0)
    for assignment in (watched, forgotten):
        await shards[2].add_camera(assignment)
    shards[2].epoch, shards[0].epoch = 7, 8
    fleet = scripted_fleet(size=FleetSize(pool=pool, numbers=ShardNumbers.fixed(1)))
    fleet.configure([watched.spec])

    await fleet.reconcile()
    loop = asyncio.create_task(fleet.run())
    try:
        await until(lambda: pool.ended == [2, 1])
        await until(lambda: list(shards[0].assignments) == ["a"])
    finally:
        await task_cancellation.end(loop)

    assert shards[0].assignments["a"].id == "earlier"  # and so it has its memory
    assert sorted(shards[2].saved) == ["a", "b"]
    assert fleet.shard_numbers.started == 1


async def test_a_shard_that_was_found_and_hangs_is_ended_like_one_that_waits_for_a_node() -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200)]
    pool = ScriptedPool(shards)
    pool.running, shards[1].is_down = {0, 1}, True
    fleet = scripted_fleet(size=FleetSize(pool=pool, numbers=ShardNumbers.fixed(1)))
    await fleet.reconcile()
    loop = asyncio.create_task(fleet.run())
    try:
        assert 9.0 < await until(lambda: pool.ended == [1]) < 12.0
    finally:
        await task_cancellation.end(loop)


async def test_the_seventeenth_camera_waits_for_a_shard_and_the_shard_for_a_node() -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200), ScriptedShard(pid=300)]
    fleet = scripted_fleet(size=growing(shards))
    async with running(fleet):
        for number in range(16):
            await fleet.add_camera(camera_spec(f"camera{number}"))
        added = await fleet.add_camera(camera_spec("camera16"))
        assert (added.status.state, added.status.detail) == (
            CameraState.WAITING,
            "no free slot yet: one more shard is asked for",
        )
        await until(lambda: fleet.shard_numbers.target == 2)
        await asyncio.sleep(30.0)
        waiting, (_, starting) = await fleet.get_camera("camera16"), await fleet.list_shards()
        assert waiting.status.state is CameraState.WAITING
        assert waiting.status.detail == "no free slot yet: shard 1: waits for a node with 1 free GPU"
        assert starting.is_starting
        assert starting.detail == "shard 1: waits for a node with 1 free GPU"

        shards[1].status_error = None
        await until(lambda: "camera16" in shards[1].assignments)
        await until(lambda: [len(shard.assignments) for shard in shards] == [9, 8, 0])


async def test_a_camera_beyond_the_slots_of_all_shards_is_refused_with_the_limit() -> None:
    shards = [ScriptedShard(pid=100, max_cameras=2)]
    fleet = scripted_fleet(*shards)
    await fleet.reconcile()
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))

    with pytest.raises(TooManyCameras, match=r"as many shards as shards.max allows \(1, "):
        await fleet.add_camera(camera_spec("c"))

    assert [camera.spec.name for camera in await fleet.list_cameras()] == ["a", "b"]


async def test_another_server_follows_the_numbers_and_ends_nothing() -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200), ScriptedShard(pid=300)]
    store = InMemoryNumbersStore()
    leading, size = growing(shards, store), growing(shards, store)
    leader = scripted_fleet(size=leading)
    size.pool.running = leading.pool.running  # type: ignore[attr-defined]
    follower = scripted_fleet(size=size, is_leader=lambda: False)
    async with running(leader), running(follower):
        numbers = await follower.scale(3, 3)
        assert (numbers.target, numbers.reason) == (3, "an operator set min 3, max 3")
        await until(lambda: leader.shard_numbers == numbers)
        await leader.scale(1, 1)
        await until(lambda: follower.shard_numbers.started == 1)

    assert size.pool.ended == []  # type: ignore[attr-defined]
    assert len(await follower.list_shards()) == 1


async def test_limits_that_the_cameras_do_not_fit_in_are_refused() -> None:
    fleet = scripted_fleet(size=growing([ScriptedShard(pid=100), ScriptedShard(pid=200)], most=2))
    async with running(fleet):
        for number in range(17):
            await fleet.add_camera(camera_spec(f"camera{number}"))
        with pytest.raises(InvalidRequest, match="max 1: the 17 cameras do not fit there"):
            await fleet.scale(1, 1)
        with pytest.raises(InvalidRequest, match="min 2 and max 1"):
            await fleet.scale(2, 1)
        with pytest.raises(InvalidRequest, match="min 1 and max 4294967295: both 1 to 10,000"):
            await fleet.scale(1, 2**32 - 1)  # each shard of the minimum would be an object of every server
