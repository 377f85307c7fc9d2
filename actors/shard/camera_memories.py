"""The memories of one shard's cameras: restored from checkpoints, saved at intervals, saved whole for a new owner."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import structlog

from actors.errors import ShardUnavailable
from actors.shard.checkpointer import Checkpointer
from actors.shard.frame_counter import FrameCounter
from actors.shard.interface import Assignment
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt, StoreUnavailable
from cache_store.gap import Gap, GapReason
from cache_store.leases import Owner
from cache_store.store import CheckpointStore
from pipeline.cameras import CameraFailed
from pipeline.device.engine import Engine
from pipeline.memory_status import MemoryStatus

T = TypeVar("T")

log = structlog.get_logger(__name__)

_NEW_FOR_S = 10.0  # so long may a camera that was just added wait for its shard


class CameraMemories:
    """Puts memories into the slots of a device and takes them out.

    Loads only checkpoints with one of `fingerprints`. restores: how many cameras got a memory so far, by where it came
    from: restored, new (a camera that was just added), empty (nothing of it was in the store), unreadable. frames: what
    became of the frames of all of them.
    """

    def __init__(
        self,
        engine: Engine,
        store: CheckpointStore,
        checkpointer: Checkpointer,
        fingerprints: tuple[str, ...],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._store = store
        self._checkpointer = checkpointer
        self._fingerprints = fingerprints
        self._clock = clock
        self.restores = Counter({"restored": 0, "new": 0, "empty": 0, "unreadable": 0})
        self.frames = FrameCounter()

    async def restore(self, assignment: Assignment) -> Checkpoint | None:
        """Gives the camera a slot with the memory of its newest readable checkpoint; returns that checkpoint.

        The memory has a gap from the newest frame in the checkpoint to the next frame. Without a checkpoint, or where
        none can be read, it starts empty, with a gap over the time in which the camera was watched before.
        Raises StoreError, CameraError, and ShardUnavailable if the device fails; then the camera has no slot.
        """
        try:
            saved = await self._store.load(assignment.id, *self._fingerprints)
            has_frames = saved is not None and saved.facts.newest_s > 0
            gap = None if has_frames else self._gap_of_empty(assignment)
            await self._start(assignment, saved, gap)
        except CheckpointCorrupt as error:
            log.error("checkpoint_unreadable", camera=assignment.spec.name, reason=str(error))
            await self._start(assignment, gap=self._gap(assignment, GapReason.UNREADABLE))
            self.restores["unreadable"] += 1
            return None
        self.restores["restored" if has_frames else "new" if gap is None else "empty"] += 1
        return saved

    def start_saving(self, assignment: Assignment) -> None:
        """Saves the camera's global summary tier at intervals from now on."""
        self._checkpointer.start(assignment.id, assignment.spec.name)

    async def stop_saving(self, camera_id: str) -> None:
        """Stops saving; the checkpoints stay in the store."""
        await self._checkpointer.stop(camera_id)

    async def finish(self, camera_id: str, name: str) -> None:
        """Holds the camera's clips back and saves its whole memory for the next owner.

        Raises StoreError, and ShardUnavailable if the device fails; then, or if it is cancelled, the camera goes on as
        before. One without frames has nothing to save, and needs no store.
        """
        self._engine.clips.hold_back(camera_id)
        is_saved = False
        try:
            await self._checkpointer.stop(camera_id)
            # The status alone may lack the frames of the job at hand.
            is_saved = not self._engine.status(camera_id).frames_seen and await self._command(
                self._engine.is_new, camera_id
            )
            is_saved = is_saved or await self._checkpointer.save(camera_id, is_whole=True)
        finally:
            if not is_saved:
                self._engine.clips.release(camera_id)
                self._checkpointer.start(camera_id, name)
        if not is_saved:
            raise StoreUnavailable(f"camera {name!r}: its memory could not be saved, so it stays where it is")

    async def erase(self, assignment: Assignment, owner: Owner, *, keeps_place: bool) -> None:
        """Deletes the camera's checkpoints and empties its slot. Raises StoreError; then the memory is as before.

        keeps_place: its source goes on behind what is erased. That is saved at once, for the next owner: a recording
        would be read from its begin again.
        """
        gap = self._gap(assignment, GapReason.ERASED)
        try:
            await self._checkpointer.stop(assignment.id)
            await self._store.delete(assignment.id, owner)
            await self._command(self._engine.erase_camera, assignment.id, gap, keeps_place=keeps_place)
            if keeps_place:
                await self._checkpointer.save(assignment.id)
        finally:
            self.start_saving(assignment)

    async def update(self, assignment: Assignment) -> None:
        """Gives the camera's memory the gate of another spec."""
        await self._command(self._engine.set_gate, assignment.id, is_gated=assignment.spec.gate)

    async def free(self, camera_id: str, *, keeps_answers: bool = False) -> None:
        """Frees the slot of a camera whose memory is not saved any more. keeps_answers: see Engine.remove_camera."""
        self.frames.end(camera_id)
        self._checkpointer.end(camera_id)
        await self._command(self._engine.remove_camera, camera_id, keeps_answers=keeps_answers)

    def status(self, camera_id: str) -> MemoryStatus:
        """The camera's memory, with the time of its last checkpoint."""
        memory = self._engine.status(camera_id)
        saved_s = self._checkpointer.saved_s(camera_id)
        return dataclasses.replace(memory, checkpointed_s=saved_s or memory.checkpointed_s)

    async def _start(self, assignment: Assignment, saved: Checkpoint | None = None, gap: Gap | None = None) -> None:
        adding = asyncio.ensure_future(
            self._command(
                self._engine.add_camera,
                assignment.id,
                saved,
                started_s=assignment.started_s,
                gap=gap,
                is_gated=assignment.spec.gate,
            )
        )
        try:
            await asyncio.shield(adding)
            self.frames.begin(assignment.id, self._engine.status(assignment.id))
        except asyncio.CancelledError:
            # The device cannot be stopped in a job: the camera must be gone again before anybody can add it.
            await asyncio.wait([adding])
            if adding.exception() is None:
                await self.free(assignment.id)
            raise

    async def _command(self, command: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Waits for a command of the engine. Raises ShardUnavailable if the device failed at it: a retry may help."""
        try:
            return await asyncio.to_thread(command, *args, **kwargs)
        except CameraFailed as error:
            raise ShardUnavailable(str(error)) from error

    def _gap_of_empty(self, assignment: Assignment) -> Gap | None:
        """What a memory that starts empty lacks; None if its camera was just added."""
        if assignment.was_owned:
            return self._gap(assignment, GapReason.NEVER_SAVED)
        # The store may have lost everything, the owner's name too.
        is_new = self._clock() - assignment.started_s < _NEW_FOR_S
        return None if is_new else self._gap(assignment, GapReason.NOT_IN_STORE)

    def _gap(self, assignment: Assignment, reason: str) -> Gap:
        return Gap(assignment.started_s, max(assignment.started_s, self._clock()), reason)
