"""A removed camera is ended everywhere before its removal is answered, and what nobody wants is ended by the leader."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from actors import task_cancellation
from actors.errors import ShardUnavailable
from actors.fleet.registry import InMemoryRegistry, RegistryEntry
from actors.shard.interface import Assignment
from cache_store.errors import StoreUnavailable
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraState, TooManyCameras
from tests.actors.scripted import ANSWER, RecordingEraser, ScriptedShard, ask, camera_spec, scripted_fleet
from tests.virtual_time import until


@pytest.fixture
def registry() -> InMemoryRegistry:
    return InMemoryRegistry()


async def removals(registry: InMemoryRegistry) -> dict[str, str]:
    changes = await registry.changes_since(None)
    assert changes is not None
    return dict(changes.removals)


async def test_a_removal_fences_before_it_ends_the_camera_and_deletes_after_that(shards, registry) -> None:
    order: list[str] = []
    eraser = RecordingEraser()
    eraser.on_call = lambda operation: order.append(operation)
    shards[0].on_drop = lambda: order.append("drop")
    fleet = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    await fleet.add_camera(camera_spec("a"))

    await fleet.remove_camera("a")

    assert order == ["fence", "drop", "delete"]
    assert await removals(registry) == {}


async def test_the_lines_about_a_removal_name_its_camera_and_epoch(shards, registry) -> None:
    """First the newest epoch of an owner, then that of the fence."""
    eraser = RecordingEraser()
    shards[0].epoch = 7
    fleet = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    camera_id = (await fleet.add_camera(camera_spec("a"))).status.id
    eraser.error = StoreUnavailable("store redis://host: refused")
    with pytest.raises(StoreUnavailable):
        await fleet.remove_camera("a")

    with capture_logs() as lines:
        await fleet.reconcile()
        eraser.error = None
        await fleet.remove_camera("a")

    (waiting, removed) = [line for line in lines if line["event"] in ("removal_not_finished", "camera_removed")]
    assert (waiting["camera"], waiting["camera_id"], waiting["epoch"]) == ("a", camera_id, 7)
    assert (removed["camera"], removed["camera_id"], removed["epoch"]) == ("a", camera_id, 8)


async def test_a_recovering_camera_is_removed_for_real(shards, registry) -> None:
    """Removal while recovering used to answer OK and to delete nothing."""
    eraser = RecordingEraser()
    fleet = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    camera_id = (await fleet.add_camera(camera_spec("a"))).status.id
    shards[0].restart()
    assert (await fleet.get_camera("a")).status.state is CameraState.RECOVERING

    await fleet.remove_camera("a")

    assert eraser.calls == [("fence", camera_id), ("delete", camera_id)]


async def test_a_camera_that_moved_while_another_fleet_removes_it_is_on_no_shard_afterwards(shards, registry) -> None:
    one = scripted_fleet(*shards, registry=registry)
    other = scripted_fleet(*shards, registry=registry, is_leader=lambda: False)
    await one.add_camera(camera_spec("a"))
    await other.reconcile()
    await one.move_camera("a", 1)

    await other.remove_camera("a")

    assert [shard.assignments for shard in shards] == [{}, {}]


async def test_a_removal_is_not_answered_while_a_shard_may_still_watch_the_camera(shards, registry, leases) -> None:
    fleet = scripted_fleet(*shards, registry=registry, leases=leases, lease_length_s=60.0)
    await fleet.add_camera(camera_spec("a"))
    shards[0].is_down = True
    with pytest.raises(ShardUnavailable, match="'a' is removed, but shard 0 may still watch it"):
        await fleet.remove_camera("a")
    with pytest.raises(UnknownCamera):
        await ask(fleet, "a")
    with pytest.raises(ShardUnavailable):
        await fleet.remove_camera("a")

    shards[0].is_down = False
    await fleet.remove_camera("a")

    assert shards[0].assignments == {}
    assert await removals(registry) == {}


async def test_two_calls_that_remove_one_camera_carry_its_removal_out_once(shards, registry) -> None:
    eraser = RecordingEraser()
    fleet = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    camera_id = (await fleet.add_camera(camera_spec("a"))).status.id

    await asyncio.gather(fleet.remove_camera("a"), fleet.remove_camera("a"))

    assert eraser.calls == [("fence", camera_id), ("delete", camera_id)]


async def test_another_leader_finishes_a_removal_that_broke_off(shards, registry) -> None:
    broken = RecordingEraser()
    earlier = scripted_fleet(*shards, registry=registry, eraser=broken.seam)
    camera_id = (await earlier.add_camera(camera_spec("a"))).status.id
    broken.error = StoreUnavailable("store: down")
    with pytest.raises(StoreUnavailable):
        await earlier.remove_camera("a")
    assert await removals(registry) == {camera_id: "a"}

    eraser = RecordingEraser()
    later = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    await later.reconcile()

    assert eraser.calls == [("fence", camera_id), ("delete", camera_id)]
    assert shards[0].assignments == {}
    assert await removals(registry) == {}


class ReadOnlyRegistry(InMemoryRegistry):
    """Refuses removals."""

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        raise StoreUnavailable("store: read only")


async def test_a_camera_is_watched_on_where_its_removal_cannot_begin(shards) -> None:
    fleet = scripted_fleet(*shards, registry=ReadOnlyRegistry())
    await fleet.add_camera(camera_spec("a"))

    with pytest.raises(StoreUnavailable):
        await fleet.remove_camera("a")
    await fleet.reconcile()

    assert await ask(fleet, "a") == list(ANSWER)


async def test_an_add_that_timed_out_and_finishes_later_leaves_nothing(shards, registry) -> None:
    shards[0].late_add_s = 40.0
    shards[1].is_down = True
    eraser = RecordingEraser()
    fleet = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    await fleet.reconcile()
    loop = asyncio.create_task(fleet.run())
    try:
        with pytest.raises(ShardUnavailable):
            await fleet.add_camera(camera_spec("a"))
        await asyncio.sleep(120.0)
    finally:
        await task_cancellation.end(loop)

    assert shards[0].assignments == {}
    assert await fleet.list_cameras() == []


async def test_what_a_shard_watches_and_nobody_wants_is_ended_and_its_memory_saved(shards) -> None:
    stranger = Assignment(id="stranger", spec=camera_spec("stranger"), started_s=0.0)
    shards[1].assignments["stranger"] = stranger
    fleet = scripted_fleet(*shards)
    loop = asyncio.create_task(fleet.run())
    try:
        took_s = await until(lambda: not shards[1].assignments)
    finally:
        await task_cancellation.end(loop)

    assert took_s > 9.0  # a registry that is on its way back may want it
    assert shards[1].saved == ["stranger"]


async def test_what_could_not_be_ended_is_not_logged_as_ended(shards) -> None:
    shards[1].assignments["stranger"] = Assignment(id="stranger", spec=camera_spec("stranger"), started_s=0.0)
    shards[1].release_error = StoreUnavailable("store: full")
    fleet = scripted_fleet(*shards)
    with capture_logs() as lines:
        loop = asyncio.create_task(fleet.run())
        try:
            await until(lambda: any(line["event"] == "camera_not_ended" for line in lines))
            await asyncio.sleep(1.0)
        finally:
            await task_cancellation.end(loop)

    (line,) = [line for line in lines if line["event"] in ("camera_not_ended", "unwanted_camera_ended")]
    assert (line["camera_id"], line["shard"], line["reason"]) == ("stranger", 1, "store: full")


async def test_a_camera_that_left_the_configuration_is_ended_on_a_shard_that_outlived_the_fleet(
    shards, registry
) -> None:
    earlier = scripted_fleet(*shards, registry=registry)
    earlier.configure(map(camera_spec, ("a", "b")))
    await earlier.reconcile()
    eraser = RecordingEraser()

    later = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    later.configure([camera_spec("b")])
    await later.reconcile()

    assert [list(shard.assignments) for shard in shards] == [[], ["b"]]
    assert [operation for operation, _ in eraser.calls] == ["fence", "delete"]


async def test_orphans_that_hold_every_slot_of_a_shard_do_not_refuse_a_camera(registry) -> None:
    shards = [ScriptedShard(pid=100, max_cameras=1), ScriptedShard(pid=200, max_cameras=2)]
    shards[0].assignments["x"] = Assignment(id="x", spec=camera_spec("x"), started_s=0.0)
    fleet = scripted_fleet(*shards, registry=registry)
    shards[0].add_error = TooManyCameras("camera 'a': all 1 slots are taken")

    view = await fleet.add_camera(camera_spec("a"))

    assert view.shard_index == 1
    assert await ask(fleet, "a") == list(ANSWER)
