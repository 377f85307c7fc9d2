"""The memories of one shard's cameras: restored from checkpoints, saved at intervals, saved whole for a new owner."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import structlog

from actors.shard.checkpointer import Checkpointer
from actors.shard.interface import Assignment
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt, StoreError, StoreUnavailable
from cache_store.gap import Gap
from cache_store.store import CheckpointStore
from pipeline.cameras import MemoryStatus
from pipeline.device.engine import Engine

log = structlog.get_logger(__name__)


class CameraMemories:
    """Puts memories into the engine's slots and takes them out. Loads only checkpoints of the model `fingerprint`."""

    def __init__(
        self,
        engine: Engine,
        store: CheckpointStore,
        checkpointer: Checkpointer,
        fingerprint: str,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._store = store
        self._checkpointer = checkpointer
        self._fingerprint = fingerprint
        self._clock = clock

    async def restore(self, assignment: Assignment) -> Checkpoint | None:
        """Gives the camera a slot with the memory of its newest readable checkpoint; returns that checkpoint.

        Without a checkpoint the memory starts empty. If there are checkpoints and none can be read, it starts empty
        with a gap over the lost time. Raises StoreError, CameraError.
        """
        name, started_s, is_gated = assignment.spec.name, assignment.started_s, assignment.spec.gate
        try:
            saved = await self._store.load(name, self._fingerprint)
            await asyncio.to_thread(self._engine.add_camera, name, saved, started_s=started_s, is_gated=is_gated)
        except CheckpointCorrupt as error:
            log.error("checkpoint_unreadable", camera=name, reason=str(error))
            gap = Gap(started_s, max(started_s, self._clock()), "its checkpoints could not be read")
            await asyncio.to_thread(self._engine.add_camera, name, started_s=started_s, gap=gap, is_gated=is_gated)
            return None
        return saved

    def start_saving(self, name: str) -> None:
        """Saves the camera's global summary tier at intervals from now on."""
        self._checkpointer.start(name)

    async def finish(self, name: str, *, is_forgotten: bool) -> None:
        """Holds the camera's clips back, then deletes its checkpoints, or saves its whole memory for the next owner.

        Raises StoreError; then the camera goes on as before.
        """
        self._engine.clips.hold_back(name)
        await self._checkpointer.stop(name)
        try:
            await (self._store.delete(name) if is_forgotten else self._save_whole(name))
        except StoreError:
            self._engine.clips.release(name)
            self._checkpointer.start(name)
            raise

    async def free(self, name: str) -> None:
        """Frees the slot of a camera whose memory is not saved any more."""
        await asyncio.to_thread(self._engine.remove_camera, name)

    async def abandon(self, name: str) -> None:
        """Stops saving and frees the slot; the checkpoints in the store belong to the next owner."""
        await self._checkpointer.stop(name)
        await self.free(name)

    def status(self, name: str) -> MemoryStatus:
        """The camera's memory, with the time of its last checkpoint."""
        memory = self._engine.status(name)
        return dataclasses.replace(memory, checkpointed_s=self._checkpointer.saved_s(name) or memory.checkpointed_s)

    async def _save_whole(self, name: str) -> None:
        if not self._engine.status(name).frames_seen or await self._checkpointer.save(name, is_whole=True):
            return
        raise StoreUnavailable(f"camera {name!r}: its memory could not be saved, so it stays where it is")
