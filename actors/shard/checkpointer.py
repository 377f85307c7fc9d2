"""Saves the memories of one shard's cameras at intervals. A store that is down never stops ingest."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from actors import task_cancellation
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.rate_limit import RateLimit
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CameraFenced, OwnedByAnother, StoreError
from cache_store.leases import Owner
from cache_store.row_format import RowFormat
from cache_store.store import CheckpointStore
from pipeline.answers import QuestionError
from pipeline.cameras import CameraError

log = structlog.get_logger(__name__)

_SNAPSHOT_TIMEOUT_S = 30.0
_OVERDUE_INTERVALS = 4  # without a checkpoint
# A shard that is drained or closed saves all of its cameras at once; each copy is a whole memory.
_WHOLE_SAVES_AT_ONCE = 4


class SnapshotSource(Protocol):
    """What holds the memories: the engine."""

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        """A copy of the camera's global summary tier, or of its whole memory, once the future is done."""
        ...


@dataclass(frozen=True, slots=True)
class _Saved:
    """The last checkpoint of a camera: when it was saved, by which owner, how many frames it had seen, and its size."""

    at_s: float
    owner: Owner
    frames_seen: int
    nbytes: int


@dataclass(slots=True)
class _Failure:
    """Since when a camera cannot be saved, and whether the log already called that overdue."""

    since_s: float
    is_overdue: bool = False


class Checkpointer:
    """Saves every camera between `start` and `stop`, and writes only as the camera's current owner.

    results: how many checkpoints were saved, failed or fenced so far.
    """

    def __init__(
        self,
        source: SnapshotSource,
        store: CheckpointStore,
        every_s: float,
        lease_holder: LeaseHolder,
        *,
        clock: Callable[[], float],
        rate_limit: RateLimit | None = None,
        rows: RowFormat = RowFormat.EXACT,
    ) -> None:
        """rows: how the rows of a global summary tier are written; a whole memory is always exact."""
        self._source = source
        self._store = store
        self._every_s = every_s
        self._lease_holder = lease_holder
        self._clock = clock
        self._rate_limit = rate_limit or RateLimit(None)
        self._rows = rows
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._names: dict[str, str] = {}
        self._whole_saves = asyncio.Semaphore(_WHOLE_SAVES_AT_ONCE)
        self._saved: dict[str, _Saved] = {}
        self._failures: dict[str, _Failure] = {}
        self.results = Counter({"saved": 0, "failed": 0, "fenced": 0})

    def start(self, camera: str, name: str) -> None:
        """Saves the camera's memory at intervals until `stop`. Needs a running event loop. name: for the log."""
        self._names[camera] = name
        self._tasks[camera] = asyncio.create_task(self._run(camera), name=f"checkpoints of {camera}")

    async def stop(self, camera: str) -> None:
        """Stops saving the camera's memory; after the return nothing writes it any more."""
        task = self._tasks.pop(camera, None)
        self._saved.pop(camera, None)
        self._failures.pop(camera, None)
        if task is not None:
            await task_cancellation.end(task)

    def end(self, camera: str) -> None:
        """Drops what is kept of a camera that this shard saves no more."""
        self._names.pop(camera, None)
        self._saved.pop(camera, None)
        self._failures.pop(camera, None)
        self._store.end(camera)

    def saved_s(self, camera: str) -> float | None:
        """When this process last saved the camera's memory, in Unix seconds."""
        saved = self._saved.get(camera)
        return saved.at_s if saved else None

    async def save(self, camera: str, *, is_whole: bool = False) -> bool:
        """Saves the camera's global summary tier if it changed, or its whole memory.

        False if it was not saved. The log says when that begins, when it lasts too long, and when it ends.
        """
        # Before the snapshot: a memory that was built in one epoch must not be saved in the next.
        owner = self._lease_holder.owner(camera)
        if owner is None:
            return False
        try:
            async with self._whole_saves if is_whole else contextlib.nullcontext():
                await self._write(camera, owner, is_whole=is_whole)
        except (OwnedByAnother, CameraFenced) as error:
            self.results["fenced"] += 1
            log.warning("checkpoint_fenced", camera=self._name(camera), epoch=owner.epoch, reason=str(error))
            self._lease_holder.request_recheck()
            return False
        except (StoreError, CameraError, QuestionError, TimeoutError) as error:
            self.results["failed"] += 1
            self._note_failed(camera, str(error) or type(error).__name__)
            return False
        except Exception as error:  # the border of one save: without the next ones the camera would keep an old one
            self.results["failed"] += 1
            log.exception("checkpoint_error", camera=self._name(camera))
            self._note_failed(camera, type(error).__name__)
            return False
        self.results["saved"] += 1
        return True

    async def _write(self, camera: str, owner: Owner, *, is_whole: bool) -> None:
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes at the same moment as the result.
        async with asyncio.timeout(_SNAPSHOT_TIMEOUT_S):
            snapshot = await asyncio.wrap_future(self._source.snapshot(camera, is_whole=is_whole))
        if not is_whole and self._rows is RowFormat.INT8:
            snapshot = replace(snapshot, facts=replace(snapshot.facts, rows=self._rows))
        if is_whole or not self._is_saved(camera, snapshot, owner):
            await self._store.save(camera, snapshot, owner)
        self._note_saved(camera, snapshot, owner)

    def _is_saved(self, camera: str, snapshot: Checkpoint, owner: Owner) -> bool:
        """Whether the store has this memory. In another epoch it may have lost what it had."""
        saved = self._saved.get(camera)
        return saved is not None and (saved.frames_seen, saved.owner) == (snapshot.facts.frames_seen, owner)

    def _note_saved(self, camera: str, snapshot: Checkpoint, owner: Owner) -> None:
        self._saved[camera] = _Saved(self._clock(), owner, snapshot.facts.frames_seen, snapshot.nbytes)
        failure = self._failures.pop(camera, None)
        if failure is not None:
            failed_for_s = round(self._clock() - failure.since_s, 1)
            log.info("checkpoint_saved_again", camera=self._name(camera), failed_for_s=failed_for_s)

    def _note_failed(self, camera: str, reason: str) -> None:
        """Logs once when saving begins to fail and once when it is overdue, not at every attempt."""
        now_s = self._clock()
        saved_s = self.saved_s(camera)
        age_s = None if saved_s is None else round(now_s - saved_s, 1)
        failure = self._failures.get(camera)
        if failure is None:
            self._failures[camera] = _Failure(now_s)
            log.warning("checkpoint_failed", camera=self._name(camera), reason=reason, age_s=age_s)
        elif not failure.is_overdue and now_s - failure.since_s >= _OVERDUE_INTERVALS * self._every_s:
            failure.is_overdue = True
            log.error("checkpoint_overdue", camera=self._name(camera), reason=reason, age_s=age_s)

    def _name(self, camera: str) -> str:
        return self._names.get(camera, camera)

    async def save_all(self, timeout_s: float) -> None:
        """Saves every memory whole and stops; a memory that is not saved in time keeps its last checkpoint."""
        cameras = list(self._tasks)
        for camera in cameras:
            self._tasks.pop(camera).cancel()
        if cameras:
            saves = [asyncio.create_task(self.save(camera, is_whole=True)) for camera in cameras]
            _, unfinished = await asyncio.wait(saves, timeout=timeout_s)
            for task in unfinished:
                task.cancel()

    async def _run(self, camera: str) -> None:
        # The first interval is shorter, by the name: the cameras of a shard must not all save at once.
        await asyncio.sleep(self._every_s * (1 + zlib.crc32(camera.encode()) % 8) / 8)
        while True:
            # The size of the last checkpoint stands for the next one, whose snapshot is taken only after the wait.
            saved = self._saved.get(camera)
            await self._rate_limit.wait(saved.nbytes if saved else 0)
            await self.save(camera)
            await asyncio.sleep(self._every_s)
