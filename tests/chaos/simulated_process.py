"""One process of a simulated shard: the real lease holder and checkpointer over a device without memories."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from concurrent import futures
from typing import TypeVar

from actors.config.schema import LeaseConfig
from actors.errors import ShardUnavailable
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.checkpointer import Checkpointer
from actors.shard.interface import Assignment
from cache_store.checkpoint import Checkpoint
from cache_store.errors import StoreError, StoreUnavailable
from cache_store.leases import Owner, ShardIncarnation
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraSpec
from tests.cache_store.test_checkpoint import FACTS
from tests.chaos.history import Event
from tests.chaos.simulated_store import SimulatedStore, StoreCheckpoints, StoreLeases
from tests.virtual_time import now_s

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)
CHECKPOINT_EVERY_S = 3.0
_FRAME_EVERY_S = 0.5

T = TypeVar("T")


class Process:
    """One incarnation of a shard. It can be killed, or hang for a while and go on as if nothing had happened."""

    def __init__(self, name: str, store: SimulatedStore, on_retired: Callable[[Process], None]) -> None:
        self.incarnation = ShardIncarnation(name)
        self.is_dead = False
        self.is_draining = False
        self.specs: dict[str, CameraSpec] = {}
        self.standby: dict[str, float] = {}
        self.frames: dict[str, int] = {}
        self._store = store
        # Two fleets may change one camera at once, as in a real shard.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._resumed = asyncio.Event()
        self._resumed.set()
        self.lease_holder = LeaseHolder(
            StoreLeases(store, self),
            self.incarnation,
            LEASE,
            on_lost=self._on_lost,
            on_retired=lambda: on_retired(self),
            clock=now_s,
        )
        self._checkpoints = StoreCheckpoints(store, self)
        self._checkpointer = Checkpointer(
            _Device(self), self._checkpoints, CHECKPOINT_EVERY_S, self.lease_holder, clock=now_s
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._start(self.lease_holder.run())
        self._start(self._append_frames())

    @property
    def is_hung(self) -> bool:
        return not self._resumed.is_set()

    def kill(self) -> None:
        """Ends at once, as by SIGKILL."""
        self.is_dead = True
        for task in (*self._tasks, *self._checkpointer._tasks.values()):
            task.cancel()

    async def hang(self, for_s: float) -> None:
        """Hangs as between SIGSTOP and SIGCONT."""
        self._resumed.clear()
        await asyncio.sleep(for_s)
        self._resumed.set()

    async def perform(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Performs one operation of the store. While the process hangs it neither sends nor receives."""
        await self._resumed.wait()
        result = await self._store.perform(operation)
        await self._resumed.wait()
        return result

    async def step(self) -> None:
        """Waits while the process hangs. Raises ShardUnavailable if it is dead."""
        await self._resumed.wait()
        if self.is_dead:
            raise ShardUnavailable("its process has ended")

    async def add(self, assignment: Assignment) -> None:
        async with self._locks[assignment.id]:
            await self._release_if_lost(assignment.id)
            await self._add(assignment)

    async def remove(self, name: str, successor: str | None) -> None:
        async with self._locks[name]:
            if name not in self.specs:
                raise UnknownCamera(name)
            await self._checkpointer.stop(name)
            if not await self._checkpointer.save(name, is_whole=True):
                await self.step()
                self._checkpointer.start(name, name)
                raise StoreUnavailable("not saved")
            del self.specs[name]
            await self.lease_holder.release(name, successor=successor)

    def note(self, kind: str, camera: str, owner: Owner, frames: int = 0) -> None:
        """Adds an event to the history."""
        self._store.history.add(Event(now_s(), kind, camera, owner.epoch, owner.incarnation, frames))

    async def _add(self, assignment: Assignment) -> None:
        name = assignment.id
        if name in self.specs:
            await self.lease_holder.raise_epoch(name, assignment.min_epoch)
            return
        if assignment.is_standby:
            self.standby[name] = now_s()
            return
        owner = await self.lease_holder.acquire(name, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
        self.standby.pop(name, None)
        try:
            checkpoint = await self._checkpoints.load(name, FACTS.fingerprint)
        except StoreError:
            await self.lease_holder.release(name)
            raise
        await self.step()
        if self.lease_holder.owner(name) != owner:
            raise ShardUnavailable("lost the camera during the restore")
        self.frames[name] = checkpoint.facts.frames_seen if checkpoint else 0
        self.note("restored", name, owner, self.frames[name])
        self.specs[name] = assignment.spec
        self._checkpointer.start(name, name)

    async def _append_frames(self) -> None:
        while True:
            await self.step()
            for camera in self.specs:
                self.frames[camera] += 1
            await asyncio.sleep(_FRAME_EVERY_S)

    async def _on_lost(self, camera: str) -> None:
        # Not now: the lease holder may call this while the camera is being added.
        self._start(self._remove_lost(camera))

    async def _remove_lost(self, camera: str) -> None:
        async with self._locks[camera]:
            await self._release_if_lost(camera)

    async def _release_if_lost(self, camera: str) -> None:
        """Stops answering for and saving a camera that another shard owns now."""
        if camera in self.specs and self.lease_holder.owner(camera) is None:
            del self.specs[camera]
            await self._checkpointer.stop(camera)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Device:
    """Memories of which only the number of frames is simulated."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        future: futures.Future[Checkpoint] = futures.Future()
        future.set_result(Checkpoint(dataclasses.replace(FACTS, frames_seen=self._process.frames[camera]), (), {}))
        return future
