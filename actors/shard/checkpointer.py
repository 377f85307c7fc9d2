"""Saves the memories of one shard's cameras, each at its own beat. A store that is down never stops ingest."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from actors import task_cancellation
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.rate_limit import RateLimit
from cache_store.checkpoint import Checkpoint, Rows, StoreError
from cache_store.leases import OwnedByAnother
from cache_store.store import CheckpointStore
from pipeline.answers import QuestionError

log = structlog.get_logger(__name__)

_SNAPSHOT_TIMEOUT_S = 30.0
_OVERDUE_AFTER = 4  # intervals without a checkpoint


class SnapshotSource(Protocol):
    """What holds the memories: the device."""

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        """Will hold a copy of the camera's global summary tier, or of its whole memory."""
        ...


@dataclass(frozen=True, slots=True)
class _Saved:
    """When a checkpoint was taken, how many frames it knew, and how large it was."""

    at_s: float
    frames_seen: int
    nbytes: int


@dataclass(slots=True)
class _Failing:
    """A camera whose memory cannot be saved: since when, and whether it was said that this lasts too long."""

    since_s: float
    is_overdue: bool = False


class Checkpointer:
    """Keeps the store up to date with every camera it was told to keep."""

    def __init__(
        self,
        source: SnapshotSource,
        kept_in: CheckpointStore,
        every_s: float,
        held_by: LeaseHolder,
        *,
        clock: Callable[[], float],
        pace: RateLimit | None = None,
        rows: Rows = Rows.EXACT,
    ) -> None:
        """`rows`: how the global tiers are written; whole memories always are exact."""
        self._source = source
        self._store = kept_in
        self._every_s = every_s
        self._tenure = held_by
        self._clock = clock
        self._pace = pace or RateLimit(None)
        self._rows = rows
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._saved: dict[str, _Saved] = {}
        self._failing: dict[str, _Failing] = {}

    def keep(self, camera: str) -> None:
        """Saves the camera's memory from now on, until `drop`. Needs a running event loop."""
        self._tasks[camera] = asyncio.create_task(self._run(camera), name=f"checkpoints of {camera}")

    async def drop(self, camera: str) -> None:
        """Stops saving the camera's memory; on return nothing writes it any more."""
        task = self._tasks.pop(camera)
        self._saved.pop(camera, None)
        self._failing.pop(camera, None)
        await task_cancellation.end(task)

    def saved_s(self, camera: str) -> float | None:
        """When this process last saved the camera's memory, in Unix seconds."""
        saved = self._saved.get(camera)
        return saved.at_s if saved else None

    async def save(self, camera: str, *, is_whole: bool = False) -> bool:
        """Saves the camera's global tier if it changed, or its whole memory.

        False if the store would not take it; the log says when that begins, when it lasts, and when it is over.
        """
        # Taken before the memory is: what was remembered as one owner is not saved as the next.
        owner = self._tenure.owner(camera)
        if owner is None:
            return False
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes at the same moment as the result.
            async with asyncio.timeout(_SNAPSHOT_TIMEOUT_S):
                taken = await asyncio.wrap_future(self._source.snapshot(camera, is_whole=is_whole))
            if not is_whole:
                taken = replace(taken, facts=replace(taken.facts, rows=self._rows))
            previous = self._saved.get(camera)
            if is_whole or previous is None or previous.frames_seen != taken.facts.frames_seen:
                await self._store.save(camera, taken, owner)
            self._note_saved(camera, taken)
        except OwnedByAnother as error:
            log.warning("checkpoint_fenced", camera=camera, epoch=owner.epoch, reason=str(error))
            self._tenure.request_recheck()
            return False
        except (StoreError, QuestionError, TimeoutError) as error:
            self._note_failed(camera, str(error) or type(error).__name__)
            return False
        return True

    def _note_saved(self, camera: str, taken: Checkpoint) -> None:
        self._saved[camera] = _Saved(self._clock(), taken.facts.frames_seen, taken.nbytes)
        failing = self._failing.pop(camera, None)
        if failing is not None:
            log.info("checkpoint_saved_again", camera=camera, failed_for_s=round(self._clock() - failing.since_s, 1))

    def _note_failed(self, camera: str, reason: str) -> None:
        """One line when saving begins to fail, one more when it has for long; not one a try."""
        now_s = self._clock()
        saved_s = self.saved_s(camera)
        age_s = None if saved_s is None else round(now_s - saved_s, 1)
        failing = self._failing.get(camera)
        if failing is None:
            self._failing[camera] = _Failing(now_s)
            log.warning("checkpoint_failed", camera=camera, reason=reason, age_s=age_s)
        elif not failing.is_overdue and now_s - failing.since_s >= _OVERDUE_AFTER * self._every_s:
            failing.is_overdue = True
            log.error("checkpoint_overdue", camera=camera, reason=reason, age_s=age_s)

    async def save_all(self, timeout_s: float) -> None:
        """Saves every memory once more, whole, and stops; what is not saved in time is left as it was."""
        cameras = list(self._tasks)
        for camera in cameras:
            self._tasks.pop(camera).cancel()
        if cameras:
            saves = [asyncio.create_task(self.save(camera, is_whole=True)) for camera in cameras]
            _, late = await asyncio.wait(saves, timeout=timeout_s)
            for task in late:
                task.cancel()

    async def _run(self, camera: str) -> None:
        # Spread over the interval by name, so that the cameras of a shard do not all save at once.
        await asyncio.sleep(self._every_s * (1 + zlib.crc32(camera.encode()) % 8) / 8)
        while True:
            # As large as the last one: what is taken when its turn has come is the newest there is.
            saved = self._saved.get(camera)
            await self._pace.turn(saved.nbytes if saved else 0)
            await self.save(camera)
            await asyncio.sleep(self._every_s)
