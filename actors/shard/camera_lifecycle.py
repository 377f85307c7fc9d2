"""The state machine of each camera on one shard: absent, standby, owned, unowned, lost.

absent  -> standby  add as standby: its stream is open and its newest clips are held back
standby -> absent   30 s without another transition
absent or standby -> owned   add: lease acquired, memory restored, stream open, checkpoints at intervals
owned   -> absent   release: memory saved whole, lease released, answers that were begun go on; drop: lease released;
                    once the memory is saved, a cancellation waits for the rest
owned   -> unowned  the store lost its record of the owner: the memory, maybe the only copy, is kept and is silent
unowned -> owned    add: lease acquired
owned or unowned -> lost   another shard owns the camera, or it was removed: this one must neither answer nor save
lost    -> absent   at once, or at the next add
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

import structlog

from actors import task_cancellation
from actors.errors import OwnershipUnproven
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.camera_memories import CameraMemories
from actors.shard.camera_stream import CameraStream
from actors.shard.camera_streams import CameraStreams
from actors.shard.interface import Assignment
from actors.shard.log_fields import CameraFields
from cache_store.errors import Retired
from pipeline.answers import UnknownCamera
from pipeline.network import urls
from pipeline.network.url_redaction import redact

log = structlog.get_logger(__name__)

_MAX_STANDBY_S = 30.0


class CameraLifecycle:
    """Every transition of a camera holds the camera's lock. One event loop owns it.

    require_slot: raises TooManyCameras or InvalidShard if the shard cannot take this camera. require_time: raises
    DeviceFull if its device has no time for a camera that has no memory yet. cameras_lost: how many another shard has
    taken over so far. log_fields: of the cameras that the shard has.
    """

    def __init__(
        self,
        streams: CameraStreams,
        memories: CameraMemories,
        lease_holder: LeaseHolder,
        *,
        require_slot: Callable[[Assignment], None],
        require_time: Callable[[Assignment], None],
    ) -> None:
        self._streams = streams
        self._memories = memories
        self._lease_holder = lease_holder
        self._require_slot = require_slot
        self._require_time = require_time
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._background: set[asyncio.Task[None]] = set()
        self._renewals: asyncio.Task[None] | None = None
        self.cameras_lost = 0
        self.log_fields = CameraFields(streams, lease_holder)

    async def add(self, assignment: Assignment) -> None:
        """See Shard.add_camera."""
        urls.parse_source(assignment.spec)
        async with self._locks[assignment.id]:
            await self._leave_if_lost(assignment.id)
            if assignment.id in self._streams.owned:
                await self._keep(assignment)
            elif assignment.is_standby:
                self._stand_by(assignment)
            else:
                await self._own(assignment)

    async def update(self, assignment: Assignment) -> None:
        """See Shard.update_camera."""
        urls.parse_source(assignment.spec)
        async with self._locks[assignment.id]:
            self._stream(assignment.id)
            await self._update(assignment)

    async def release(self, camera_id: str, *, successor: str | None) -> None:
        """See Shard.release_camera."""
        async with self._locks[camera_id]:
            self._streams.end_standby(camera_id)
            await self._memories.finish(camera_id, self._stream(camera_id).spec.name)
            leaving = self._give_up(camera_id, "camera_released", successor=successor, keeps_answers=True)
            await task_cancellation.carry_out(leaving)

    async def drop(self, camera_id: str) -> None:
        """See Shard.drop_camera."""
        async with self._locks[camera_id]:
            self._streams.end_standby(camera_id)
            if camera_id not in self._streams.owned:
                return
            await self._memories.stop_saving(camera_id)
            await task_cancellation.carry_out(self._give_up(camera_id, "camera_dropped"))

    async def erase(self, camera_id: str) -> None:
        """See Shard.erase_memory."""
        async with self._locks[camera_id]:
            stream = self._stream(camera_id)
            owner = await self._lease_holder.begin_epoch(camera_id)
            newest_s = self._memories.status(camera_id).newest_s
            # Its frames have times behind those of the memory, and shall have the clock's once that is empty.
            is_reopened = stream.is_live and self._streams.is_ahead(newest_s)
            if is_reopened:
                stream.feed.request_stop()
            try:
                await self._memories.erase(stream.assignment, owner, keeps_place=not is_reopened)
                newest_s = None
            finally:
                if is_reopened:
                    self._streams.reopen(stream.assignment, newest_s)
        log.info("memory_erased", camera=stream.spec.name)

    async def on_lost(self, camera_id: str) -> None:
        """Ends a camera whose lease another shard acquired, or that was removed. Returns at once.

        The lease holder calls this while it renews, and `add` renews while it holds a camera's lock. Waiting for the
        lock here could deadlock.
        """
        self._start(self._settle(camera_id))

    async def release_all(self) -> None:
        """Stops renewing the lease, releases every camera and cancels what runs in the background."""
        if self._renewals is not None:
            await task_cancellation.end(self._renewals)
        await self._lease_holder.release_all()
        self._streams.clear()
        for task in self._background:
            task.cancel()

    def _stream(self, camera_id: str) -> CameraStream:
        stream = self._streams.owned.get(camera_id)
        if stream is None:
            raise UnknownCamera(f"camera {camera_id!r} is not on this shard")
        return stream

    def _stand_by(self, assignment: Assignment) -> None:
        self._streams.end_standby(assignment.id)
        self._require_slot(assignment)
        stream = self._streams.open_standby(assignment)
        self._start(self._expire_standby(assignment.id, stream))

    async def _own(self, assignment: Assignment) -> None:
        if self._renewals is None:
            self._renewals = asyncio.create_task(self._lease_holder.run(), name="renewals of the lease")
        # The lease comes first: from now on no other shard can replace the checkpoint that is loaded.
        await self._acquire(assignment)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._lease_holder.release, assignment.id)
            self._require_slot(assignment)
            saved = await self._memories.restore(assignment)
            undo.push_async_callback(self._memories.free, assignment.id)
            if saved is None:  # one that was watched before is taken in any case: late frames are better than none
                self._require_time(assignment)
            self._streams.open(assignment, saved)
            undo.pop_all()
        self._memories.start_saving(assignment)
        spec, owner = assignment.spec, self._lease_holder.owner(assignment.id)
        log.info(
            "camera_opened",
            camera=spec.name,
            epoch=owner.epoch if owner else 0,
            url=redact(spec.url),
            is_restored=saved is not None,
        )

    async def _keep(self, assignment: Assignment) -> None:
        """Stays or becomes the owner of a camera that this shard has, with the assignment's spec."""
        if self._lease_holder.is_unowned(assignment.id):
            await self._acquire(assignment)
            log.info("camera_owned_again", camera=assignment.spec.name)
        else:
            await self._lease_holder.raise_epoch(assignment.id, assignment.min_epoch)
        await self._update(assignment)

    async def _acquire(self, assignment: Assignment) -> None:
        try:
            await self._lease_holder.acquire(assignment.id, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
        except Retired as error:
            raise OwnershipUnproven(
                f"camera {assignment.spec.name!r}: its shard is ending ({error}); try again"
            ) from error

    async def _update(self, assignment: Assignment) -> None:
        if self._streams.owned[assignment.id].spec == assignment.spec:
            self._streams.keep(assignment)
            return
        await self._memories.update(assignment)
        self._streams.update(assignment, self._memories.status(assignment.id).newest_s)
        log.info("camera_updated", camera=assignment.spec.name, url=redact(assignment.spec.url))

    async def _give_up(
        self, camera_id: str, event: str, *, successor: str | None = None, keeps_answers: bool = False
    ) -> None:
        fields = self.log_fields(camera_id)
        self._streams.end(camera_id)
        await self._lease_holder.release(camera_id, successor=successor)
        await self._memories.free(camera_id, keeps_answers=keeps_answers)
        log.info(event, **fields)

    async def _settle(self, camera_id: str) -> None:
        async with self._locks[camera_id]:
            await self._leave_if_lost(camera_id)

    async def _leave_if_lost(self, camera_id: str) -> None:
        if camera_id in self._streams.owned and self._lease_holder.is_lost(camera_id):
            fields = self.log_fields(camera_id)
            self._streams.end(camera_id)
            await self._memories.stop_saving(camera_id)
            await self._memories.free(camera_id)
            if self._lease_holder.is_removed(camera_id):
                log.info("camera_dropped", **fields, reason="it was removed")
                return
            self.cameras_lost += 1
            log.warning("camera_lost_to_another_shard", **fields)

    async def _expire_standby(self, camera_id: str, stream: CameraStream) -> None:
        await asyncio.sleep(_MAX_STANDBY_S)
        async with self._locks[camera_id]:
            if self._streams.standby.get(camera_id) is stream:
                self._streams.end_standby(camera_id)

    def _start(self, transition: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(transition)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
