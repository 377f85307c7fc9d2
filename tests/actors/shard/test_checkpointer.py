"""When memories are saved, with a scripted device and a store in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from concurrent import futures

from structlog.testing import capture_logs

from actors.config.schema import LeaseConfig
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.checkpointer import Checkpointer
from actors.shard.rate_limit import RateLimit
from cache_store.checkpoint import Checkpoint, Rows, StoreFull, StoreUnavailable
from cache_store.leases import OWN_LEASE, InMemoryLeases, LeaseExpiry, Owner, ShardIncarnation
from cache_store.store import InMemoryCheckpointStore
from pipeline.answers import UnknownCamera
from tests.actors.waiting import until
from tests.cache_store.test_checkpoint import FACTS


class ScriptedSource:
    """Memories that hold nothing but have seen frames."""

    def __init__(self) -> None:
        self.frames_seen = 8
        self.failure: Exception | None = None

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        future: futures.Future[Checkpoint] = futures.Future()
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        facts = dataclasses.replace(FACTS, frames_seen=self.frames_seen)
        future.set_result(Checkpoint(facts, (), {}))
        return future


class CountingStore(InMemoryCheckpointStore):
    def __init__(self) -> None:
        self.owners = InMemoryLeases()
        super().__init__(self.owners)
        self.saves: list[str] = []
        self.blocked = asyncio.Event()
        self.blocked.set()

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        await self.blocked.wait()
        await super().save(camera, saved, owner)
        self.saves.append(camera)


async def nothing(camera: str) -> None:
    """Who is told of a lost camera."""


async def checkpointing(
    source: ScriptedSource,
    kept_in: CountingStore,
    every_s: float = 0.05,
    *,
    clock: Callable[[], float] = lambda: 77.0,
    pace: RateLimit | None = None,
    rows: Rows = Rows.EXACT,
) -> Checkpointer:
    """Of a shard that owns every camera of these tests."""
    held_by = LeaseHolder(kept_in.owners, ShardIncarnation("me"), LeaseConfig(), on_lost=nothing)
    for camera in ("gate", "yard"):
        await held_by.acquire(camera, expiry=OWN_LEASE)
    return Checkpointer(source, kept_in, every_s, held_by, clock=clock, pace=pace, rows=rows)


async def test_a_memory_that_changed_is_saved_again() -> None:
    source, kept_in = ScriptedSource(), CountingStore()
    saving = await checkpointing(source, kept_in)
    saving.keep("gate")
    await until(lambda: len(kept_in.saves) == 1)
    source.frames_seen = 12
    await until(lambda: len(kept_in.saves) == 2)
    await saving.drop("gate")

    assert kept_in.saves == ["gate", "gate"]


async def test_a_memory_that_did_not_change_is_not_saved_again() -> None:
    kept_in = CountingStore()
    saving = await checkpointing(ScriptedSource(), kept_in)

    assert await saving.save("gate")
    assert await saving.save("gate")

    assert kept_in.saves == ["gate"]
    assert saving.saved_s("gate") == 77.0


async def rows_in(kept_in: CountingStore) -> Rows:
    loaded = await kept_in.load("gate", FACTS.fingerprint)
    assert loaded is not None
    return loaded.facts.rows


async def test_a_global_tier_is_saved_with_the_rows_that_are_asked_for_a_whole_memory_with_exact_ones() -> None:
    kept_in = CountingStore()
    saving = await checkpointing(ScriptedSource(), kept_in, rows=Rows.INT8)

    assert await saving.save("gate")
    assert await rows_in(kept_in) is Rows.INT8

    assert await saving.save("gate", is_whole=True)
    assert await rows_in(kept_in) is Rows.EXACT


async def test_a_failure_is_tried_again_at_the_next_beat() -> None:
    source, kept_in = ScriptedSource(), CountingStore()
    source.failure = StoreUnavailable("refused")
    saving = await checkpointing(source, kept_in)
    assert not await saving.save("gate")
    saving.keep("gate")
    source.failure = None
    await until(lambda: bool(kept_in.saves))
    await saving.drop("gate")


async def test_a_camera_that_left_the_device_is_no_failure_of_the_others() -> None:
    source = ScriptedSource()
    source.failure = UnknownCamera("gone")

    assert not await (await checkpointing(source, CountingStore())).save("gate")


async def test_nothing_is_written_once_a_camera_is_dropped() -> None:
    kept_in = CountingStore()
    kept_in.blocked.clear()
    saving = await checkpointing(ScriptedSource(), kept_in)
    saving.keep("gate")
    await asyncio.sleep(0.1)
    await saving.drop("gate")
    kept_in.blocked.set()
    await asyncio.sleep(0.1)

    assert kept_in.saves == []


async def test_the_last_saves_have_a_deadline() -> None:
    kept_in = CountingStore()
    kept_in.blocked.clear()
    saving = await checkpointing(ScriptedSource(), kept_in, every_s=60)
    saving.keep("gate")

    await saving.save_all(timeout_s=0.05)

    assert kept_in.saves == []


async def test_every_memory_is_saved_once_more_at_the_end() -> None:
    kept_in = CountingStore()
    saving = await checkpointing(ScriptedSource(), kept_in, every_s=60)
    for camera in ("gate", "yard"):
        saving.keep(camera)

    await saving.save_all(timeout_s=5)

    assert sorted(kept_in.saves) == ["gate", "yard"]


async def test_what_another_shard_owns_by_now_is_not_saved() -> None:
    kept_in = CountingStore()
    saving = await checkpointing(ScriptedSource(), kept_in)
    await kept_in.owners.acquire("gate", "other", gone=LeaseExpiry("me", 1))

    assert not await saving.save("gate")

    assert await kept_in.load("gate", FACTS.fingerprint) is None


async def test_a_failure_is_said_when_it_begins_when_it_lasts_and_when_it_is_over() -> None:
    """And not at every try."""
    source, now = ScriptedSource(), [1_000.0]
    saving = await checkpointing(source, CountingStore(), 15.0, clock=lambda: now[0])
    with capture_logs() as said:
        await saving.save("gate")
        source.failure = StoreFull("store redis://host: full")
        for _ in range(10):
            now[0] += 15.0
            assert not await saving.save("gate")
        source.failure = None
        assert await saving.save("gate")
        assert await saving.save("gate")

    told = [{name: line[name] for name in line if name not in ("reason", "camera")} for line in said]
    assert told == [
        {"event": "checkpoint_failed", "log_level": "warning", "age_s": 15.0},
        {"event": "checkpoint_overdue", "log_level": "error", "age_s": 75.0},
        {"event": "checkpoint_saved_again", "log_level": "info", "failed_for_s": 135.0},
    ]
    assert all(line["camera"] == "gate" for line in said)


async def test_saves_of_one_shard_keep_to_its_pace_and_the_last_ones_do_not_wait_for_it() -> None:
    kept_in, source, asked = CountingStore(), ScriptedSource(), []

    class Slow(RateLimit):
        async def turn(self, nbytes: int) -> None:
            asked.append(nbytes)
            await asyncio.Event().wait()

    saving = await checkpointing(source, kept_in, pace=Slow(None))
    saving.keep("gate")
    await until(lambda: asked == [0])
    assert kept_in.saves == []

    await saving.save_all(timeout_s=5)

    assert kept_in.saves == ["gate"]


async def test_a_camera_is_dropped_also_at_the_very_moment_at_which_its_memory_was_copied() -> None:
    taken: futures.Future[Checkpoint] = futures.Future()

    class Late(ScriptedSource):
        def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
            if not taken.done():
                taken.set_running_or_notify_cancel()
            return taken

    saving = await checkpointing(Late(), CountingStore(), every_s=0.01)
    saving.keep("gate")
    await until(taken.running)

    taken.set_result(Checkpoint(FACTS, (), {}))
    async with asyncio.timeout(2.0):
        await saving.drop("gate")
