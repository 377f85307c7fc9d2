"""When memories are saved, with scripted memories and a store in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from concurrent import futures

import pytest
from structlog.testing import capture_logs

from actors import task_cancellation
from actors.config.shards import LeaseConfig
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.checkpointer import Checkpointer
from actors.shard.rate_limit import RateLimit
from cache_store.checkpoint import Checkpoint
from cache_store.errors import StoreFull, StoreUnavailable
from cache_store.leases import UNOWNED_EXPIRY, InMemoryLeases, LeaseExpiry, Owner, ShardIncarnation
from cache_store.row_format import RowFormat
from cache_store.store import InMemoryCheckpointStore
from pipeline.answers import UnknownCamera
from tests.actors.shard.shards import USUAL_LEASE
from tests.actors.waiting import until
from tests.cache_store.test_checkpoint import FACTS


class ScriptedSource:
    """Empty memories that have seen frames. rows: how their slots keep them."""

    def __init__(self, rows: RowFormat = RowFormat.EXACT) -> None:
        self.frames_seen = 8
        self.rows = rows
        self.failure: Exception | None = None

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        future: futures.Future[Checkpoint] = futures.Future()
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        facts = dataclasses.replace(FACTS, frames_seen=self.frames_seen, rows=self.rows)
        future.set_result(Checkpoint(facts, (), {}))
        return future


class CountingStore(InMemoryCheckpointStore):
    def __init__(self) -> None:
        self.leases = InMemoryLeases()
        super().__init__(self.leases)
        self.saves: list[str] = []
        self.started_saves = 0
        self.blocked = asyncio.Event()
        self.blocked.set()

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        self.started_saves += 1
        await self.blocked.wait()
        await super().save(camera, saved, owner)
        self.saves.append(camera)


async def owning_lease_holder(store: CountingStore, lost: list[str], lease: LeaseConfig = USUAL_LEASE) -> LeaseHolder:
    """A lease holder that owns every camera of these tests; the names of lost cameras are added to `lost`."""

    async def on_lost(camera: str) -> None:
        lost.append(camera)

    lease_holder = LeaseHolder(store.leases, ShardIncarnation("me"), lease, on_lost=on_lost)
    for camera in ("gate", "yard"):
        await lease_holder.acquire(camera, expiry=UNOWNED_EXPIRY)
    return lease_holder


async def checkpointer_of(
    source: ScriptedSource,
    store: CountingStore,
    every_s: float = 0.05,
    *,
    clock: Callable[[], float] = lambda: 77.0,
    rate_limit: RateLimit | None = None,
    rows: RowFormat = RowFormat.EXACT,
) -> Checkpointer:
    """The checkpointer of a shard that owns every camera of these tests."""
    lease_holder = await owning_lease_holder(store, [])
    return Checkpointer(source, store, every_s, lease_holder, clock=clock, rate_limit=rate_limit, rows=rows)


async def test_a_memory_that_changed_is_saved_again() -> None:
    source, store = ScriptedSource(), CountingStore()
    checkpointer = await checkpointer_of(source, store)
    checkpointer.start("gate", "gate")
    await until(lambda: len(store.saves) == 1)
    source.frames_seen = 12
    await until(lambda: len(store.saves) == 2)
    await checkpointer.stop("gate")

    assert store.saves == ["gate", "gate"]


async def test_a_memory_that_did_not_change_is_not_saved_again() -> None:
    store = CountingStore()
    checkpointer = await checkpointer_of(ScriptedSource(), store)

    assert await checkpointer.save("gate")
    assert await checkpointer.save("gate")

    assert store.saves == ["gate"]
    assert checkpointer.saved_s("gate") == 77.0


async def rows_in(store: CountingStore) -> RowFormat:
    loaded = await store.load("gate", FACTS.fingerprint)
    assert loaded is not None
    return loaded.facts.rows


async def test_a_global_tier_is_saved_with_the_configured_rows_and_a_whole_memory_with_exact_ones() -> None:
    store = CountingStore()
    checkpointer = await checkpointer_of(ScriptedSource(), store, rows=RowFormat.INT8)

    assert await checkpointer.save("gate")
    assert await rows_in(store) is RowFormat.INT8

    assert await checkpointer.save("gate", is_whole=True)
    assert await rows_in(store) is RowFormat.EXACT


async def test_a_memory_of_int8_rows_is_saved_as_such_whatever_is_configured() -> None:
    store = CountingStore()
    checkpointer = await checkpointer_of(ScriptedSource(RowFormat.INT8), store, rows=RowFormat.EXACT)

    for is_whole in (False, True):
        assert await checkpointer.save("gate", is_whole=is_whole)
        assert await rows_in(store) is RowFormat.INT8


@pytest.mark.parametrize("failure", [StoreUnavailable("refused"), MemoryError()])
async def test_a_failed_save_is_tried_again_after_the_interval(failure: Exception) -> None:
    """After an error that nobody foresaw the camera was not saved any more, and no log said so."""
    source, store = ScriptedSource(), CountingStore()
    source.failure = failure
    checkpointer = await checkpointer_of(source, store)
    assert not await checkpointer.save("gate")
    checkpointer.start("gate", "gate")
    source.failure = None
    await until(lambda: bool(store.saves))
    await checkpointer.stop("gate")


async def test_a_camera_that_left_the_device_is_not_saved() -> None:
    source = ScriptedSource()
    source.failure = UnknownCamera("camera 'gate' is not on this shard")

    assert not await (await checkpointer_of(source, CountingStore())).save("gate")


async def test_nothing_is_written_once_a_camera_is_dropped() -> None:
    store = CountingStore()
    store.blocked.clear()
    checkpointer = await checkpointer_of(ScriptedSource(), store)
    checkpointer.start("gate", "gate")
    await until(lambda: store.started_saves == 1)
    await checkpointer.stop("gate")
    store.blocked.set()
    await asyncio.sleep(0)

    assert store.saves == []


async def test_the_last_saves_have_a_deadline() -> None:
    store = CountingStore()
    store.blocked.clear()
    checkpointer = await checkpointer_of(ScriptedSource(), store, every_s=60)
    checkpointer.start("gate", "gate")

    async with asyncio.timeout(5.0):
        await checkpointer.save_all(timeout_s=0.5)  # within which a busy machine has begun it

    assert store.started_saves == 1
    assert store.saves == []


async def test_every_memory_is_saved_at_the_end() -> None:
    store = CountingStore()
    checkpointer = await checkpointer_of(ScriptedSource(), store, every_s=60)
    for camera in ("gate", "yard"):
        checkpointer.start(camera, camera)

    await checkpointer.save_all(timeout_s=5)

    assert sorted(store.saves) == ["gate", "yard"]


async def test_a_stale_owner_saves_nothing() -> None:
    store = CountingStore()
    checkpointer = await checkpointer_of(ScriptedSource(), store)
    await store.leases.acquire("gate", "other", expiry=LeaseExpiry("me", 1))

    assert not await checkpointer.save("gate")

    assert await store.load("gate", FACTS.fingerprint) is None


@pytest.mark.parametrize("does_fence", [False, True])
async def test_a_refused_save_finds_the_lost_camera_without_the_wait_for_the_next_renewal(does_fence: bool) -> None:
    store, lost = CountingStore(), []
    lease_holder = await owning_lease_holder(store, lost, LeaseConfig(length_s=600.0))
    checkpointer = Checkpointer(ScriptedSource(), store, 60.0, lease_holder, clock=lambda: 77.0)
    renewals = asyncio.create_task(lease_holder.run())
    await asyncio.sleep(0)
    await (
        store.leases.fence("gate") if does_fence else store.leases.acquire("gate", "other", expiry=LeaseExpiry("me", 2))
    )

    assert not await checkpointer.save("gate")
    await until(lambda: lost == ["gate"])

    await task_cancellation.end(renewals)


async def test_an_unchanged_memory_is_saved_again_in_another_epoch() -> None:
    """The shard may have acquired the camera again because the store lost its data, checkpoints included."""
    store = CountingStore()
    lease_holder = await owning_lease_holder(store, [])
    checkpointer = Checkpointer(ScriptedSource(), store, 60.0, lease_holder, clock=lambda: 77.0)
    assert await checkpointer.save("gate")
    assert await checkpointer.save("gate")
    assert store.saves == ["gate"]

    await lease_holder.begin_epoch("gate")
    assert await checkpointer.save("gate")

    assert store.saves == ["gate", "gate"]


class BlockedStore(CountingStore):
    """Saves wait until `unblocked` is set; counts those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.unblocked = asyncio.Event()
        self.num_waiting = 0

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        self.num_waiting += 1
        await self.unblocked.wait()
        await super().save(camera, saved, owner)


async def test_whole_memories_are_saved_in_parallel_four_at_once() -> None:
    store = BlockedStore()
    lease_holder = await owning_lease_holder(store, [])
    cameras = [f"camera{number}" for number in range(16)]
    for camera in cameras:
        await lease_holder.acquire(camera, expiry=UNOWNED_EXPIRY)
    checkpointer = Checkpointer(ScriptedSource(), store, 60.0, lease_holder, clock=lambda: 77.0)
    saves = [asyncio.create_task(checkpointer.save(camera, is_whole=True)) for camera in cameras]

    for _ in range(100):
        await asyncio.sleep(0)
    num_waiting = store.num_waiting
    store.unblocked.set()

    assert num_waiting == 4
    assert await asyncio.gather(*saves) == [True] * 16


async def test_a_failure_is_logged_when_it_begins_when_it_is_overdue_and_when_it_ends() -> None:
    """It is not logged at every attempt."""
    source, now = ScriptedSource(), [1_000.0]
    checkpointer = await checkpointer_of(source, CountingStore(), 15.0, clock=lambda: now[0])
    with capture_logs() as lines:
        await checkpointer.save("gate")
        source.failure = StoreFull("store redis://host: full")
        for _ in range(10):
            now[0] += 15.0
            assert not await checkpointer.save("gate")
        source.failure = None
        assert await checkpointer.save("gate")
        assert await checkpointer.save("gate")

    events = [{name: line[name] for name in line if name not in ("reason", "camera")} for line in lines]
    assert events == [
        {"event": "checkpoint_failed", "log_level": "warning", "age_s": 15.0},
        {"event": "checkpoint_overdue", "log_level": "error", "age_s": 75.0},
        {"event": "checkpoint_saved_again", "log_level": "info", "failed_for_s": 135.0},
    ]
    assert all(line["camera"] == "gate" for line in lines)


async def test_saves_wait_for_the_rate_limit_except_the_last_ones() -> None:
    store, source, waited = CountingStore(), ScriptedSource(), []

    class Slow(RateLimit):
        async def wait(self, nbytes: int) -> None:
            waited.append(nbytes)
            await asyncio.Event().wait()

    checkpointer = await checkpointer_of(source, store, rate_limit=Slow(None))
    checkpointer.start("gate", "gate")
    await until(lambda: waited == [0])
    assert store.saves == []

    await checkpointer.save_all(timeout_s=5)

    assert store.saves == ["gate"]


async def test_a_drop_at_the_moment_of_a_snapshot_is_not_swallowed() -> None:
    snapshot: futures.Future[Checkpoint] = futures.Future()

    class Late(ScriptedSource):
        def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
            if not snapshot.done():
                snapshot.set_running_or_notify_cancel()
            return snapshot

    checkpointer = await checkpointer_of(Late(), CountingStore(), every_s=0.01)
    checkpointer.start("gate", "gate")
    await until(snapshot.running)

    snapshot.set_result(Checkpoint(FACTS, (), {}))
    async with asyncio.timeout(2.0):
        await checkpointer.stop("gate")
