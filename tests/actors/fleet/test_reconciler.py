"""Cameras are restored on their shard after it restarts, and on another one once its lease has expired."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from structlog.testing import capture_logs

from actors import task_cancellation
from actors.errors import ShardUnavailable
from actors.fleet.registry import InMemoryRegistry
from actors.ownership import failure_detector
from actors.shard.interface import ShardStatus
from cache_store.errors import Retired, StoreUnavailable
from cache_store.leases import InMemoryLeases, Leases, ShardIncarnation, refused
from pipeline.cameras import CameraState
from tests.actors import processes
from tests.actors.scripted import ANSWER, ScriptedShard, ask, camera_spec, scripted_fleet
from tests.virtual_time import until


async def is_retired(leases: Leases, incarnation: str) -> bool:
    try:
        await leases.renew(ShardIncarnation(incarnation))
    except Retired:
        return True
    return False


async def test_a_shard_that_restarts_without_cameras_gets_them_back(fleet, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet.add_camera(camera_spec(name))
    before = dict(shards[0].assignments)

    shards[0].restart()
    await fleet.reconcile()

    assert shards[0].assignments == before
    assert before["a"].started_s == 500.0


@pytest.mark.skipif(failure_detector.current_process() is None, reason="processes of two machines look alike here")
async def test_cameras_of_a_process_that_ended_are_on_another_shard_at_once(shards, leases) -> None:
    """Neither the next status nor the next look at the lease is waited for, nor an answer that cannot come."""
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=3_600.0)
    with processes.idle() as child:
        await leases.renew(ShardIncarnation("100", failure_detector.identity_of(child.pid)))
        await fleet.add_camera(camera_spec("a"))
        running = asyncio.create_task(fleet.run())
        await asyncio.sleep(10.3)
        shards[0].pause_s = 3_600.0
        answer = asyncio.create_task(ask(fleet, "a"))
        await asyncio.sleep(0.1)
        shards[0].is_down = True
        child.kill()
        child.wait()

        assert await until(lambda: "a" in shards[1].assignments) < 0.2
        assert await until(answer.done) < 0.3
        assert answer.result() == list(ANSWER)
        await task_cancellation.end(running)


async def test_a_camera_is_recovering_while_its_shard_is_down(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].is_down = True

    view = await fleet.get_camera("a")

    assert view.status.state is CameraState.RECOVERING
    assert view.status.memory.frames_seen == 8


async def test_a_camera_that_its_shard_lacks_is_shown_as_recovering(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].restart()

    view = await fleet.get_camera("a")

    assert view.status.state is CameraState.RECOVERING
    assert view.status.detail == "not restored yet on shard 0"


async def test_a_camera_is_restored_once_the_store_is_available_again(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].restart()
    shards[0].add_error = StoreUnavailable("store redis://host: refused")
    await fleet.reconcile()

    assert (await fleet.get_camera("a")).status.detail == "store redis://host: refused"

    shards[0].add_error = None
    await asyncio.sleep(1.0)
    await fleet.reconcile()
    assert (await fleet.get_camera("a")).status.state is CameraState.LIVE


async def test_the_loop_assigns_cameras_by_itself(fleet, shards) -> None:
    fleet.configure([camera_spec("a")])
    loop = asyncio.create_task(fleet.run())
    try:
        await until(lambda: bool(shards[0].assignments))
    finally:
        await task_cancellation.end(loop)


async def test_cameras_stay_on_a_shard_that_is_down_until_its_lease_has_expired(shards, leases) -> None:
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=6.0)
    await leases.renew(ShardIncarnation("100"))
    for name in ("a", "b", "c"):
        await fleet.add_camera(camera_spec(name))
    shards[0].is_down = True
    await fleet.reconcile()

    await asyncio.sleep(5.9)
    await fleet.reconcile()
    assert list(shards[1].assignments) == ["b"]
    assert (await fleet.get_camera("a")).status.state is CameraState.RECOVERING

    await asyncio.sleep(0.2)
    await fleet.reconcile()
    assert sorted(shards[1].assignments) == ["a", "b", "c"]
    assert (await fleet.get_camera("a")).shard_index == 1
    assert await ask(fleet, "a") == list(ANSWER)


async def test_cameras_stay_on_an_unreachable_shard_that_renews_its_lease(shards, leases) -> None:
    """The shard may only be slow: as long as it renews the lease it owns its cameras."""
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=1.0)
    await fleet.add_camera(camera_spec("a"))
    shards[0].is_down = True
    for _ in range(4):
        await leases.renew(ShardIncarnation("100"))
        await fleet.reconcile()
        await asyncio.sleep(0.7)

    assert shards[1].assignments == {}
    assert (await fleet.get_camera("a")).status.state is CameraState.RECOVERING


async def test_the_lease_of_an_unreachable_shard_is_revoked_after_a_grace_period(shards, leases) -> None:
    """Its process may live on, and would keep its cameras for ever."""
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=60.0)
    await fleet.add_camera(camera_spec("a"))
    shards[0].is_down = True
    await fleet.reconcile()
    await asyncio.sleep(2.9)
    await fleet.reconcile()
    assert not await is_retired(leases, "100")

    await asyncio.sleep(0.2)
    await fleet.reconcile()

    assert await is_retired(leases, "100")


async def test_the_lease_of_a_process_that_outlived_its_replacement_is_revoked_at_once(shards, leases) -> None:
    """Ray gave its node up and started another process, but the old one still renews its lease and is unreachable."""
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=60.0)
    await fleet.add_camera(camera_spec("a"))
    shards[0].restart()
    shards[0].add_error = refused("a", "100")
    await fleet.reconcile()

    assert await is_retired(leases, "100")


async def test_the_lease_of_an_unknown_incarnation_is_revoked_after_a_grace_period(shards, leases) -> None:
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=60.0)
    fleet.configure([camera_spec("a")])
    shards[0].add_error = refused("a", "earlier")
    await fleet.reconcile()
    await asyncio.sleep(9.9)
    await fleet.reconcile()
    assert not await is_retired(leases, "earlier")

    await asyncio.sleep(0.2)
    await fleet.reconcile()

    assert await is_retired(leases, "earlier")


class CountingLeases(InMemoryLeases):
    """Counts how often each lease was revoked."""

    def __init__(self) -> None:
        super().__init__()
        self.revocations: Counter[str] = Counter()

    async def retire(self, incarnation: str) -> None:
        self.revocations[incarnation] += 1
        await super().retire(incarnation)


async def test_the_lease_of_an_incarnation_that_owned_a_removed_camera_is_not_revoked_for_ever(shards) -> None:
    """It was revoked each second as long as the server ran."""
    leases = CountingLeases()
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=60.0)
    fleet.configure([camera_spec("a")])
    shards[0].add_error = refused("a", "earlier")
    await fleet.reconcile()
    await fleet.remove_camera("a")
    loop = asyncio.create_task(fleet.run())
    try:
        await asyncio.sleep(60.0)
    finally:
        await task_cancellation.end(loop)

    assert leases.revocations == {"earlier": 1}


async def test_the_lease_of_an_incarnation_that_a_shard_reports_is_not_revoked(shards, leases) -> None:
    """A move broke off after the release: the camera is reserved for shard 1, which cannot take it for a while."""
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=60.0)
    await fleet.reconcile()
    fleet.configure([camera_spec("a")])
    shards[0].add_error = refused("a", "200")
    shards[1].add_error = StoreUnavailable("store redis://host: refused")
    for _ in range(12):
        await fleet.reconcile()
        await asyncio.sleep(1.0)

    shards[1].add_error = None
    await fleet.reconcile()

    assert not await is_retired(leases, "200")
    assert list(shards[1].assignments) == ["a"]


async def test_without_a_free_slot_elsewhere_a_camera_waits_for_its_shard_and_says_so(leases) -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200, max_cameras=1)]
    fleet = scripted_fleet(*shards, leases=leases)
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    shards[0].is_down = True
    await fleet.reconcile()
    await fleet.reconcile()

    with pytest.raises(ShardUnavailable, match="shard 0 is down and no other shard that takes cameras has a free slot"):
        await ask(fleet, "a")
    shards[0].is_down = False
    await fleet.reconcile()
    assert await ask(fleet, "a") == list(ANSWER)


async def test_each_of_many_cameras_of_a_lost_shard_says_that_it_waits_for_a_slot() -> None:
    """All but the first hundred were shown as recovering, for ever. The log has one line for all of them."""
    shards = [ScriptedShard(pid=100, max_cameras=150), ScriptedShard(pid=200, max_cameras=1)]
    fleet = scripted_fleet(*shards)
    fleet.configure(camera_spec(f"camera{number}") for number in range(151))
    await fleet.reconcile()
    shards[0].is_down = True
    with capture_logs() as lines:
        for _ in range(3):
            await asyncio.sleep(1.0)
            await fleet.reconcile()

    states = Counter(camera.status.state for camera in await fleet.list_cameras())

    assert states == {CameraState.LIVE: 1, CameraState.WAITING: 150}
    (line,) = [line for line in lines if line["event"] == "cameras_wait"]
    assert line["cameras"].endswith(" and 140 more")


async def test_a_camera_is_adopted_from_the_shard_that_owns_it_now(fleet, shards) -> None:
    """An assignment was carried out although its reply was lost."""
    await fleet.add_camera(camera_spec("a"))
    shards[1].assignments["a"] = shards[0].assignments.pop("a")
    shards[1].epoch = 7

    await fleet.reconcile()

    assert (await fleet.get_camera("a")).shard_index == 1
    assert (await fleet.get_camera("a")).status.epoch == 7


async def test_a_restarted_leader_leaves_a_memory_that_its_shard_kept_where_it_is(shards) -> None:
    """The store lost its data, owners included: the memory on the shard may be the only one."""
    registry = InMemoryRegistry()
    earlier = scripted_fleet(*shards, registry=registry)
    await earlier.add_camera(camera_spec("a"))
    shards[1].assignments["a"] = shards[0].assignments.pop("a")
    shards[1].states["a"] = CameraState.RECOVERING, "the store lost its record of the owner"

    later = scripted_fleet(*shards, registry=registry)
    await later.reconcile()

    assert (await later.get_camera("a")).shard_index == 1
    assert list(shards[1].assignments) == ["a"]
    assert shards[0].assignments == {}


async def test_a_fleet_that_is_not_the_leader_assigns_no_camera(shards) -> None:
    fleet = scripted_fleet(*shards, is_leader=lambda: False)
    fleet.configure([camera_spec("a")])
    await fleet.reconcile()

    assert shards[0].assignments == {}
    assert (await fleet.get_camera("a")).status.state is CameraState.CONNECTING


async def test_a_leader_that_restarts_adopts_the_cameras_from_their_shards(shards) -> None:
    registry = InMemoryRegistry()
    earlier = scripted_fleet(*shards, registry=registry)
    for name in ("a", "b", "c"):
        await earlier.add_camera(camera_spec(name))
    for shard in shards:
        shard.epoch = 7
    await earlier.move_camera("a", 1)

    later = scripted_fleet(*shards, registry=registry)
    await later.reconcile()

    assert [sorted(shard.assignments) for shard in shards] == [["c"], ["a", "b"]]
    assert (await later.get_camera("a")).shard_index == 1


async def test_a_server_that_starts_looks_at_each_shard_once_and_finds_the_cameras_where_they_are() -> None:
    class CountingShard(ScriptedShard):
        looks = 0

        async def status(self) -> ShardStatus:
            self.looks += 1
            return await super().status()

    shards, registry = [CountingShard(pid=100), CountingShard(pid=200)], InMemoryRegistry()
    first = scripted_fleet(*shards, registry=registry)
    await first.add_camera(camera_spec("a"))
    await first.move_camera("a", 1)
    shards[1].epoch = 7
    for shard in shards:
        shard.looks = 0
    fleet = scripted_fleet(*shards, registry=registry)

    await fleet.reconcile()

    record = fleet._state.find("a")
    assert [shard.looks for shard in shards] == [1, 1]
    assert (record.shard_index, record.newest_epoch, record.status.state) == (1, 7, CameraState.LIVE)
