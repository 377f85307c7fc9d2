"""Adds cameras to a fleet once their sources are proven to work, and removes them. Knows nothing of questions."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import structlog

from actors.errors import ServiceError
from actors.fleet.desired_state import DesiredState
from actors.fleet.reconciler import Reconciler
from actors.fleet.records import CameraRecord
from actors.fleet.state import FleetState
from actors.fleet.views import CameraView
from actors.shard.interface import Assignment
from cache_store.errors import OwnedByAnother, StoreError
from pipeline.answers import UnknownCamera
from pipeline.cameras import (
    CameraError,
    CameraExists,
    CameraSpec,
    CameraState,
    CameraStatus,
    SourceInvalid,
    SourceReason,
    SourceUnreachable,
)
from pipeline.network import urls

log = structlog.get_logger(__name__)

_POLL_EVERY_S = 0.1


class CameraAdmission:
    """Adds and removes cameras at the request of clients. One event loop owns it, with the state."""

    def __init__(
        self,
        state: FleetState,
        reconciler: Reconciler,
        desired: DesiredState,
        *,
        open_timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._reconciler = reconciler
        self._desired = desired
        self._open_timeout_s = open_timeout_s
        self._clock = clock

    async def add(self, spec: CameraSpec) -> CameraView:
        """Publishes and assigns the camera, then waits for its first frame. See Fleet.add_camera for the errors."""
        existing = self._state.cameras.get(spec.name)
        if existing is not None and existing.spec == spec:
            await self._reconciler.observe(existing.shard_index)
            return existing.view()
        if existing is not None:
            raise CameraExists(f"camera {spec.name!r} exists, with another URL, pace, masks or gate; remove it first")
        urls.parse_source(spec)
        record = self._state.add(Assignment(id=uuid.uuid4().hex, spec=spec, started_s=self._clock()))
        try:
            await self._desired.publish(record)
            async with record.lock:
                await self._reconciler.assign(record)
        except OwnedByAnother as error:
            # The camera stays added: reconciliation assigns it once the previous owner's lease has expired.
            record.mark_recovering(str(error))
            return record.view()
        except (CameraError, StoreError, ServiceError):
            await self._desired.remove(spec.name)
            raise
        await self._await_first_frame(record)
        log.info("camera_added", camera=spec.name, url=record.status.url, shard=record.shard_index)
        return record.view()

    async def remove(self, record: CameraRecord, *, is_forgotten: bool) -> None:
        """Stops a camera; deletes its memory and checkpoints if it is to be forgotten.

        Raises ShardUnavailable, StoreError.
        """
        async with record.lock:
            shard = self._state.shard_of(record).shard
            try:
                if is_forgotten:
                    await shard.erase_memory(record.id)
            except UnknownCamera:
                log.info("camera_not_on_shard", camera=record.spec.name)
            await shard.drop_camera(record.id)
            await self._desired.remove(record.spec.name)

    async def _await_first_frame(self, record: CameraRecord) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._open_timeout_s
        while record.status.state is CameraState.CONNECTING and loop.time() < deadline_s:
            await asyncio.sleep(_POLL_EVERY_S)
            await self._reconciler.observe(record.shard_index)
        error = _open_error(record.status, self._open_timeout_s)
        if error is not None:
            await self.remove(record, is_forgotten=False)
            raise error


def _open_error(status: CameraStatus, waited_s: float) -> CameraError | None:
    """Why the source of a camera that was just added cannot be used; None if it can."""
    # The detail also says when the feed tries again, which does not happen for a camera that is not added.
    message = f"{status.detail.partition('; try ')[0]}; the camera was not added"
    if status.state is CameraState.FAILED:
        return SourceInvalid(message, status.reason or SourceReason.UNKNOWN)
    if status.state is CameraState.BACKING_OFF:
        return SourceUnreachable(message, status.reason or SourceReason.UNKNOWN)
    if status.state is CameraState.CONNECTING:
        message = f"camera {status.name!r}: no frame within {waited_s:.0f} s of {status.url}; the camera was not added"
        return SourceUnreachable(message, SourceReason.NO_ANSWER)
    return None
