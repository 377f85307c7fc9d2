"""One process of a simulated shard: everything of a real one but its device and its streams, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import ParamSpec, TypeVar

from actors.config.schema import LeaseConfig
from actors.errors import InvalidShard, ShardUnavailable
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.camera_lifecycle import CameraLifecycle
from actors.shard.camera_memories import CameraMemories
from actors.shard.camera_streams import CameraStream, CameraStreams
from actors.shard.checkpointer import Checkpointer
from actors.shard.interface import Assignment
from cache_store.leases import Owner, ShardIncarnation
from pipeline.cameras import MemoryStatus, TooManyCameras
from pipeline.sources.ingest_config import IngestConfig
from tests.cache_store.test_checkpoint import FACTS
from tests.chaos.history import Event
from tests.chaos.simulated_device import SimulatedDevice, SimulatedFeed
from tests.chaos.simulated_store import SimulatedStore, StoreCheckpoints, StoreLeases
from tests.virtual_time import now_s

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)
CHECKPOINT_EVERY_S = 3.0
SLOTS = 6

P = ParamSpec("P")
T = TypeVar("T")


class Process:
    """One incarnation of a shard. It can be killed, or hang for a while and go on as if nothing had happened."""

    def __init__(self, name: str, store: SimulatedStore, on_retired: Callable[[Process], None]) -> None:
        self.incarnation = ShardIncarnation(name)
        self.is_dead = False
        self.is_draining = False
        self._store = store
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
        self._device = SimulatedDevice(self._note_restored)
        self._feeds: list[SimulatedFeed] = []
        checkpoints = StoreCheckpoints(store, self)
        self._checkpointer = Checkpointer(self._device, checkpoints, CHECKPOINT_EVERY_S, self.lease_holder, clock=now_s)
        memories = CameraMemories(
            self._device,
            checkpoints,
            self._checkpointer,
            (FACTS.fingerprint,),
            clock=now_s,
            run_blocking=_run_at_once,
        )
        self._streams = CameraStreams(self._device.clips, IngestConfig(), self._open_feed, clock=now_s)
        self.lifecycle = CameraLifecycle(self._streams, memories, self.lease_holder, require_slot=self._require_slot)

    @property
    def is_hung(self) -> bool:
        return not self._resumed.is_set()

    @property
    def streams(self) -> Mapping[str, CameraStream]:
        """Of the cameras that the process watches, by their ids."""
        return self._streams.owned

    @property
    def standby(self) -> Mapping[str, float | None]:
        return self._streams.standby_since_s()

    def memory(self, camera: str) -> MemoryStatus:
        return self._device.status(camera)

    def kill(self) -> None:
        """Ends at once, as by SIGKILL."""
        self.is_dead = True
        renewals = self.lifecycle._renewals
        tasks = (*self.lifecycle._background, *self._checkpointer._tasks.values(), *((renewals,) if renewals else ()))
        for task in tasks:
            task.cancel()
        for feed in self._feeds:
            feed.request_stop()

    async def hang(self, for_s: float) -> None:
        """Hangs as between SIGSTOP and SIGCONT."""
        self._resumed.clear()
        await asyncio.sleep(for_s)
        self._resumed.set()

    async def perform(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Performs one operation of the store. While the process hangs it neither sends nor receives."""
        await self.step()
        result = await self._store.perform(operation)
        await self.step()
        return result

    async def step(self) -> None:
        """Waits while the process hangs. Raises ShardUnavailable if it is dead."""
        await self._resumed.wait()
        if self.is_dead:
            raise ShardUnavailable("its process has ended")

    async def run(self, operation: Callable[[CameraLifecycle], Awaitable[None]]) -> None:
        """Runs an operation of the shard. Raises ShardUnavailable if the process is dead, then or afterwards."""
        await self.step()
        await operation(self.lifecycle)
        await self.step()

    def note(self, kind: str, camera: str, owner: Owner, frames: int = 0) -> None:
        """Adds an event to the history."""
        self._store.history.add(Event(now_s(), kind, camera, owner.epoch, owner.incarnation, frames))

    def _note_restored(self, camera: str, frames: int) -> None:
        owner = self.lease_holder.owner(camera)
        if owner is not None:
            self.note("restored", camera, owner, frames)

    def _require_slot(self, assignment: Assignment) -> None:
        if self.is_draining:
            raise InvalidShard("it is draining")
        if len(self._streams.owned.keys() | self._streams.standby.keys() - {assignment.id}) >= SLOTS:
            raise TooManyCameras(f"camera {assignment.spec.name!r}: all {SLOTS} slots are taken")

    def _open_feed(self, *_: object, camera_id: str, **__: object) -> SimulatedFeed:
        feed = SimulatedFeed(self._device, camera_id, self.step)
        self._feeds.append(feed)
        return feed

    async def _on_lost(self, camera: str) -> None:
        await self.lifecycle.on_lost(camera)


async def _run_at_once(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """A simulated device does not block."""
    return work(*args, **kwargs)
