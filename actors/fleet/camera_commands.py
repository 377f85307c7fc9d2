"""Adds, changes, erases, tests and removes cameras at the request of clients. Knows nothing of questions."""

from __future__ import annotations

import asyncio

import structlog

from actors.errors import CameraRecovering, ServiceError, ShardUnavailable
from actors.fleet import camera_presence, configured_cameras, headroom
from actors.fleet.camera_presence import CameraPresence
from actors.fleet.desired_state import DesiredState
from actors.fleet.observer import Observer
from actors.fleet.placement import Placement
from actors.fleet.plan import NO_SLOT_WHILE_MOVING, NO_SLOT_YET
from actors.fleet.records import CameraRecord
from actors.fleet.removal import Remover
from actors.fleet.state import FleetState
from actors.fleet.views import CameraView
from cache_store.errors import OwnedByAnother, StoreError
from pipeline.answers import UnknownCamera
from pipeline.cameras import (
    CameraChanged,
    CameraError,
    CameraExists,
    CameraSpec,
    CameraState,
    CameraStatus,
    DeviceFull,
    SourceChanged,
    SourceInvalid,
    SourceReason,
    SourceUnreachable,
    TooManyCameras,
)
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.network.tls import TlsRules
from pipeline.source_correction import NEEDS_CORRECTION
from pipeline.sources.probe import ProbeResult

log = structlog.get_logger(__name__)

_POLL_EVERY_S = 0.2


class CameraCommands:
    """What clients ask to do with cameras. One event loop owns it, with the state."""

    def __init__(
        self,
        state: FleetState,
        desired: DesiredState,
        observer: Observer,
        placement: Placement,
        remover: Remover,
        *,
        open_timeout_s: float,
    ) -> None:
        self._state = state
        self._desired = desired
        self._observer = observer
        self._placement = placement
        self._presence = CameraPresence(state, desired)
        self._remover = remover
        self._open_timeout_s = open_timeout_s

    async def add(self, spec: CameraSpec) -> CameraView:
        """Publishes and assigns the camera, then waits for its first frame. See Fleet.add_camera for the errors."""
        existing = self._state.cameras.get(spec.name)
        if existing is not None:
            return await self._existing(existing, spec)
        urls.parse_source(spec)
        entry = await self._desired.publish(spec)
        record = self._state.find(spec.name)
        if entry.assignment.spec != spec:
            return await self._existing(record, spec)  # another fleet was first
        if headroom.waits_for_slot(self._state, record):
            return _waiting(record, NO_SLOT_YET)
        try:
            headroom.require_slot(self._state, record)
            try:
                async with record.lock:
                    await self._placement.place(record, record.shard_index)
            except DeviceFull:
                raise
            except TooManyCameras:
                if not headroom.is_slot_kept(self._state, record):
                    raise
                return _waiting(record, NO_SLOT_WHILE_MOVING)
            await self._require_frames(record)
            log.info("camera_added", **record.log_fields, url=record.status.url, shard=record.shard_index)
        except OwnedByAnother as error:
            # The camera stays added: it is assigned once the previous owner's lease has expired.
            record.mark_recovering(str(error))
        except (CameraError, StoreError, ServiceError):
            await self._withdraw(record)
            raise
        except asyncio.CancelledError:
            # The client has given up: it knows of no camera.
            await asyncio.shield(self._withdraw(record))
            raise
        return record.view()

    async def update(self, spec: CameraSpec, *, allow_memory_loss: bool) -> CameraView:
        """Gives the camera of this name another spec. See Fleet.update_camera for the errors."""
        urls.parse_source(spec)
        record = self._state.find(spec.name)
        if record.spec == spec:
            return record.view()
        if not configured_cameras.has_same_source(record.spec, spec):
            if not allow_memory_loss:
                raise SourceChanged(
                    f"camera {spec.name!r}: the new URL is another source, and its memory is of the present one; pass "
                    "allow_memory_loss (--allow-memory-loss) to lose it, or add the source under another name"
                )
            if not await self._desired.replace(record, spec):
                raise camera_presence.changed(spec)
            record = self._state.find(spec.name)
            await self._place(record)
        else:
            if not await self._desired.update(record, spec):
                raise camera_presence.changed(spec)
            await self._update_on_shard(record)
        await self._observer.observe(record.shard_index)
        return record.view()

    async def erase(self, name: str) -> CameraView:
        """Empties the camera's memory. See Fleet.erase_memory for the errors."""
        record = self._state.find(name)
        async with record.lock:
            shard = self._state.shard_of(record)
            try:
                await shard.perform(shard.shard.erase_memory(record.id))
            except UnknownCamera:
                await self._presence.require(record)
                raise CameraRecovering(
                    f"camera {name!r}: {record.unavailable_reason}; its memory can be erased once it is restored"
                ) from None
        log.info("memory_erased", **record.log_fields)
        await self._observer.observe(record.shard_index)
        return record.view()

    async def test(self, url: str, tls: TlsRules) -> ProbeResult:
        """Probes a URL from the emptiest shard that is up. See Fleet.test_camera for the errors."""
        urls.with_tls(urls.parse(url), tls)
        up = [index for index, record in enumerate(self._state.shards) if record.is_up]
        if not up:
            raise ShardUnavailable("no shard is up to test a camera from; try again")
        emptiest = min(up, key=self._state.camera_counts().__getitem__)
        with REDACTOR.remembering(url):
            return await self._state.shards[emptiest].shard.test_camera(url, tls)

    async def remove(self, name: str) -> None:
        """Removes the camera and waits until nothing of it is left. See Fleet.remove_camera for the errors."""
        record = self._state.cameras.get(name)
        if record is not None:
            await self._desired.remove(name, record.id)
        removals = [removal for removal in self._state.removals.values() if removal.name == name]
        if not removals:
            self._state.find(name)
        # A shard that nobody knows to have the camera may be watching it.
        await self._observer.observe_all()
        for removal in removals:
            await self._remover.finish(removal)

    async def _existing(self, record: CameraRecord, spec: CameraSpec) -> CameraView:
        if record.spec != spec:
            raise CameraExists(f"camera {spec.name!r} exists, with another URL or other options; update or remove it")
        await self._observer.observe(record.shard_index)
        return record.view()

    async def _place(self, record: CameraRecord) -> None:
        """Assigns a camera that stays, whatever comes of it: a later plan tries again."""
        try:
            async with record.lock:
                await self._placement.place(record, record.shard_index)
        except (CameraError, StoreError, ServiceError) as error:
            record.mark_recovering(str(error))

    async def _update_on_shard(self, record: CameraRecord) -> None:
        """A shard that cannot take the new spec now gets it by a later plan."""
        try:
            async with record.lock:
                shard = self._state.shard_of(record)
                await shard.perform(shard.shard.update_camera(record.assignment))
        except (UnknownCamera, ShardUnavailable, StoreError) as error:
            log.info("camera_update_waits", **record.log_fields, reason=str(error))

    async def _withdraw(self, record: CameraRecord) -> None:
        """Removes a camera whose adding failed. What cannot be ended now is ended by a later plan."""
        try:
            await self._desired.remove(record.spec.name, record.id)
            if removal := self._state.removals.get(record.id):  # the leader's plan may have finished it by now
                await self._remover.finish(removal)
        except (StoreError, ServiceError) as error:
            await self._desired.withdraw_later(record)
            log.warning("camera_not_withdrawn", **record.log_fields, reason=str(error))

    async def _require_frames(self, record: CameraRecord) -> None:
        """Waits for the first frame. Raises SourceInvalid and SourceUnreachable without one, and CameraChanged."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._open_timeout_s
        await self._observer.observe(record.shard_index)
        while record.status.state is CameraState.CONNECTING and loop.time() < deadline_s:
            self._require_present(record)
            await asyncio.sleep(_POLL_EVERY_S)
            await self._observer.observe(record.shard_index)
        self._require_present(record)
        error = _open_error(record.status, self._open_timeout_s)
        if error is not None:
            raise error

    def _require_present(self, record: CameraRecord) -> None:
        if self._state.cameras_by_id.get(record.id) is not record:
            raise CameraChanged(
                f"camera {record.spec.name!r}: another call removed or replaced it while it was added; it was not added"
            )


def _waiting(record: CameraRecord, reason: str) -> CameraView:
    """A camera that stays added without a slot: a later plan assigns it."""
    record.mark_without_slot(reason)
    log.info("camera_waits", **record.log_fields, reason=reason)
    return record.view()


def _open_error(status: CameraStatus, waited_s: float) -> CameraError | None:
    """Why the source of a camera that was just added cannot be used; None if it can."""
    # The detail also says when the feed tries again, which does not happen for a camera that is not added.
    message = f"{status.detail.partition('; try ')[0]}; the camera was not added"
    reason = status.reason or SourceReason.UNKNOWN
    is_backing_off = status.state is CameraState.BACKING_OFF
    if status.state is CameraState.FAILED or (is_backing_off and reason in NEEDS_CORRECTION):
        return SourceInvalid(message, reason)
    if is_backing_off:
        return SourceUnreachable(message, reason)
    if status.state is CameraState.CONNECTING:
        message = f"camera {status.name!r}: no frame within {waited_s:.0f} s of {status.url}; the camera was not added"
        return SourceUnreachable(message, SourceReason.NO_ANSWER)
    return None
