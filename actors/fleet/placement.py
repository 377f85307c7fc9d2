"""Adds a camera to a shard: in place of an owner that is proven to be gone, elsewhere if the shard is full."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from actors.errors import InvalidShard, ServiceError
from actors.fleet import camera_presence
from actors.fleet.capacity import Capacity
from actors.fleet.desired_state import DesiredState
from actors.fleet.records import CameraRecord
from actors.fleet.snapshot import can_read
from actors.fleet.state import FleetState
from actors.ownership.failure_detector import FailureDetector
from cache_store.errors import CameraFenced, OwnedByAnother, StoreError
from cache_store.leases import UNOWNED, LeaseExpiry
from pipeline.cameras import CameraError, TooManyCameras

log = structlog.get_logger(__name__)


class Placement:
    """Assigns cameras to shards. The caller holds the camera's lock. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, desired: DesiredState, failure_detector: FailureDetector) -> None:
        self._state = state
        self._desired = desired
        self._failure_detector = failure_detector
        # The last proof that the store has not lost its data. The store checks it again whenever it grants a camera.
        self._unowned_expiry: LeaseExpiry | None = None

    async def place(self, record: CameraRecord, index: int) -> None:
        """Adds the camera to this shard, or to another one with a free slot if it takes none.

        Raises CameraError, ServiceError, StoreError; then the camera is recorded on the shard that it was on before.
        """
        before, tried, target = record.shard_index, set[int](), index
        try:
            while target not in tried:
                tried.add(target)
                self._state.reassign(record, target)
                try:
                    await self.assign(record)
                except (TooManyCameras, InvalidShard):
                    other = Capacity(self._state.snapshot(_now_s())).best(exclude=tried, fingerprint=record.fingerprint)
                    if other is None:
                        raise
                    target = other
                except OwnedByAnother as error:
                    # A move broke off after the release: the camera is reserved for that shard.
                    owner = self._state.index_of(error.incarnation)
                    if owner is None or owner in tried:
                        raise
                    target = owner
        except (CameraError, ServiceError, StoreError):
            self._state.reassign(record, before)
            raise
        if target != before:
            log.info("camera_reassigned", **record.log_fields, from_shard=before, to_shard=target)

    async def assign(self, record: CameraRecord, clock_ahead_s: float | None = None) -> None:
        """Adds the camera to its shard. If another shard owned it, that owner's lease must have expired.

        clock_ahead_s: see Assignment.
        Raises CameraError, ServiceError and StoreError, OwnedByAnother among them; CameraChanged if it was removed.
        """
        shard = self._state.shard_of(record)
        # Above every earlier epoch: a store that lost its data, with a clock set back, would grant stale ones.
        min_epoch = self._state.epoch_floor.at(_now_s())
        assignment = replace(
            record.assignment, min_epoch=min_epoch, expiry=self._unowned_expiry, clock_ahead_s=clock_ahead_s
        )
        lost = "" if can_read(shard.fingerprints, record.fingerprint) else record.fingerprint
        with shard.acting():
            try:
                await shard.perform(shard.shard.add_camera(assignment))
            except OwnedByAnother as error:
                expiry = await self._expiry(record, error)
                await shard.perform(shard.shard.add_camera(replace(assignment, expiry=expiry)))
            except CameraFenced:
                await self._desired.end_fenced(record)
                raise camera_presence.changed(record.spec) from None
        if lost:
            log.warning(
                "memory_left_behind",
                **record.log_fields,
                shard=record.shard_index,
                fingerprint=lost[:12],
                readable=[fingerprint[:12] for fingerprint in shard.fingerprints],
            )

    async def _expiry(self, record: CameraRecord, error: OwnedByAnother) -> LeaseExpiry:
        """The proof that the owner may be replaced; raises the error again without one."""
        expiry = await self._failure_detector.expiry(error.incarnation)
        if expiry is None:
            if error.incarnation != UNOWNED:
                self._state.mark_unknown_owner(error.incarnation, _now_s())
            raise error
        if expiry.incarnation == UNOWNED:
            self._unowned_expiry = expiry
            return expiry
        self._state.forget_unknown_owner(error.incarnation)
        log.info("camera_taken_over", **record.log_fields, from_incarnation=expiry.incarnation, died=expiry.is_dead)
        return expiry


def _now_s() -> float:
    return asyncio.get_running_loop().time()
