"""The state machine of each camera on one shard: absent, standby, owned, lost.

absent  -> standby  add as standby: its stream is open and its newest clips are held back
standby -> absent   30 s without another transition
absent or standby -> owned   add: lease acquired, memory restored, stream open, checkpoints at intervals
owned   -> absent   remove: memory saved whole or forgotten, lease released
owned   -> lost     another shard owns the camera: this one must neither answer nor save
lost    -> absent   at once, or at the next add
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine

import structlog

from actors import task_cancellation
from actors.errors import InvalidShard
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.camera_memories import CameraMemories
from actors.shard.camera_streams import CameraStream, CameraStreams
from actors.shard.interface import Assignment
from cache_store.errors import StoreError
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraError, CameraExists
from pipeline.network import urls

log = structlog.get_logger(__name__)

_MAX_STANDBY_S = 30.0


class CameraLifecycle:
    """Every transition of a camera holds the camera's lock. One event loop owns it.

    require_slot: raises TooManyCameras or InvalidShard if the shard cannot take this camera.
    """

    def __init__(
        self,
        streams: CameraStreams,
        memories: CameraMemories,
        lease_holder: LeaseHolder,
        *,
        require_slot: Callable[[str], None],
    ) -> None:
        self._streams = streams
        self._memories = memories
        self._lease_holder = lease_holder
        self._require_slot = require_slot
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._background: set[asyncio.Task[None]] = set()
        self._renewals: asyncio.Task[None] | None = None

    async def add(self, assignment: Assignment) -> None:
        """See Shard.add_camera."""
        spec = assignment.spec
        async with self._locks[spec.name]:
            await self._leave_if_lost(spec.name)
            stream = self._streams.owned.get(spec.name)
            if stream is not None and stream.spec != spec:
                raise CameraExists(f"camera {spec.name!r} exists, with another URL, pace, masks or gate")
            if stream is not None:
                await self._lease_holder.raise_epoch(spec.name, assignment.min_epoch)
                return
            urls.parse_source(spec)
            if assignment.is_standby:
                self._stand_by(assignment)
            else:
                await self._own(assignment)

    async def remove(self, name: str, *, is_forgotten: bool, successor: str | None) -> None:
        """See Shard.remove_camera."""
        async with self._locks[name]:
            self._streams.end_standby(name)
            if name not in self._streams.owned:
                raise UnknownCamera(f"camera {name!r} is not on this shard")
            await self._memories.finish(name, is_forgotten=is_forgotten)
            self._streams.end(name)
            await self._lease_holder.release(name, successor=successor)
            await self._memories.free(name)
        log.info("camera_removed", camera=name, is_forgotten=is_forgotten)

    async def on_lost(self, name: str) -> None:
        """Ends a camera whose lease another shard acquired. Returns at once.

        The lease holder calls this while it renews, and `add` renews while it holds a camera's lock. Waiting for the
        lock here could deadlock.
        """
        self._start(self._settle(name))

    async def release_all(self) -> None:
        """Stops renewing the lease, releases every camera and cancels what runs in the background."""
        if self._renewals is not None:
            await task_cancellation.end(self._renewals)
        await self._lease_holder.release_all()
        self._streams.clear()
        for task in self._background:
            task.cancel()

    def _stand_by(self, assignment: Assignment) -> None:
        name = assignment.spec.name
        self._streams.end_standby(name)
        self._require_slot(name)
        stream = self._streams.open_standby(assignment)
        self._start(self._expire_standby(name, stream))

    async def _own(self, assignment: Assignment) -> None:
        spec = assignment.spec
        if self._renewals is None:
            self._renewals = asyncio.create_task(self._lease_holder.run(), name="renewals of the lease")
        # The lease comes first: from now on no other shard can replace the checkpoint that is loaded.
        await self._lease_holder.acquire(spec.name, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
        try:
            self._require_slot(spec.name)
            saved = await self._memories.restore(assignment)
        except (CameraError, StoreError, InvalidShard):
            await self._lease_holder.release(spec.name)
            raise
        self._streams.open(assignment, saved)
        self._memories.start_saving(spec.name)
        log.info("camera_added", camera=spec.name, url=urls.redact(spec.url), is_restored=saved is not None)

    async def _settle(self, name: str) -> None:
        async with self._locks[name]:
            await self._leave_if_lost(name)

    async def _leave_if_lost(self, name: str) -> None:
        if name in self._streams.owned and self._lease_holder.owner(name) is None:
            self._streams.end(name)
            await self._memories.abandon(name)
            log.warning("camera_lost_to_another_shard", camera=name)

    async def _expire_standby(self, name: str, stream: CameraStream) -> None:
        await asyncio.sleep(_MAX_STANDBY_S)
        async with self._locks[name]:
            if self._streams.standby.get(name) is stream:
                self._streams.end_standby(name)

    def _start(self, transition: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(transition)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
