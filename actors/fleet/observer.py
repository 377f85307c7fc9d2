"""Observes what is: the status of each shard, and whether its lease has expired."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import structlog

from actors import task_cancellation
from actors.errors import ShardEnded, ShardUnavailable
from actors.fleet.records import CameraRecord
from actors.fleet.shard_record import ShardRecord
from actors.fleet.state import FleetState
from actors.ownership.failure_detector import FailureDetector
from cache_store.errors import StoreUnavailable
from pipeline.network.redaction import REDACTOR

log = structlog.get_logger(__name__)

_DOWN_TIMEOUT_S = 0.5


class Observer:
    """Writes what shards report into the state. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, failure_detector: FailureDetector) -> None:
        self._state = state
        self._failure_detector = failure_detector
        self._numbers = itertools.count(1)
        self._newest: dict[int, int] = {}  # of each shard, the number of the newest call that it answered

    async def observe_all(self) -> None:
        """Records the status of every shard and its cameras. One that is known to be down is not waited for as long."""
        is_down = [record.down_since_s is not None for record in self._state.shards]
        calls = [asyncio.create_task(self.observe(index)) for index in range(len(is_down))]
        try:
            await asyncio.gather(*(call for call, is_known in zip(calls, is_down, strict=True) if not is_known))
            await asyncio.wait(calls, timeout=_DOWN_TIMEOUT_S)
        finally:
            await task_cancellation.end(*calls)

    async def observe(self, index: int) -> None:
        """Records the status of a shard and its cameras. A shard that does not answer is recorded as down.

        What a call says that began before one that was answered already is out of date.
        """
        record, number = self._state.shards[index], next(self._numbers)
        if record.is_ended:
            return
        try:
            status = await record.shard.status()
        except ShardUnavailable as error:
            if self._is_outdated(record, index, number):
                return
            self._log_down(index, str(error), was_ended=isinstance(error, ShardEnded))
            self._mark_down(index, str(error), is_failed=False)
            return
        except Exception as error:  # the border of one shard: whatever it answers, the others are shown and used
            if self._is_outdated(record, index, number):
                return
            if not record.is_failed:
                log.exception("shard_failed", shard=index)
            self._mark_down(index, f"{type(error).__name__}: {REDACTOR.redact(str(error))}", is_failed=True)
            return
        if self._is_outdated(record, index, number):
            return
        self._newest[index] = number
        if not record.is_up:
            log.info("shard_up", shard=index, pid=status.pid)
        for camera, expected in self._state.observe(index, status, asyncio.get_running_loop().time()):
            log.info("camera_adopted", **camera.log_fields, expected_shard=expected, shard=index)

    async def observe_owner(self, record: CameraRecord) -> None:
        """Observes the shard that owns the camera by the store, where the state has the camera on another shard.

        Another server has moved it a moment ago. Nothing happens while the store is unavailable.
        """
        with contextlib.suppress(StoreUnavailable):
            owner = await self._failure_detector.owner(record.id)
            index = None if owner is None else self._state.index_of(owner.incarnation)
            if index is not None and index != record.shard_index:
                await self.observe(index)

    async def check_lease(self, index: int) -> None:
        """Records whether the shard's lease has expired. While the store is unavailable, nothing is proven.

        A shard whose process has ended is recorded as down before its next status is asked for.
        """
        record = self._state.shards[index]
        incarnation = record.incarnation
        if incarnation is None or record.is_ended:
            return
        try:
            expiry = await self._failure_detector.expiry(incarnation)
        except StoreUnavailable:
            expiry = None
        if record.incarnation != incarnation:  # its next process has reported meanwhile
            return
        if expiry is not None and expiry.is_dead and record.is_up:
            self._log_down(index, "its process ended", was_ended=False)
            self._mark_down(index, "its process ended", is_failed=False)
        record.mark_expiry(expiry)

    async def wait(self, index: int, seconds: float) -> None:
        """Waits so long, or until the shard's process ends, where that can be seen at once."""
        incarnation = self._state.shards[index].incarnation
        if incarnation is None:
            await asyncio.sleep(seconds)
        else:
            await self._failure_detector.wait(incarnation, seconds)

    def _is_outdated(self, record: ShardRecord, index: int, number: int) -> bool:
        is_ended = record.is_ended or self._state.shards[index] is not record
        return is_ended or number < self._newest.get(index, 0)

    def _log_down(self, index: int, reason: str, *, was_ended: bool) -> None:
        """A warning, unless the shard was ended on purpose."""
        record = self._state.shards[index]
        if not record.is_up:
            return
        end_reason = record.end_reason(self._state.size)
        if end_reason or was_ended:
            log.info("shard_down", shard=index, reason=end_reason or reason)
        else:
            log.warning("shard_down", shard=index, reason=reason)

    def _mark_down(self, index: int, reason: str, *, is_failed: bool) -> None:
        now_s = asyncio.get_running_loop().time()
        self._state.mark_shard_down(index, now_s, reason, is_failed=is_failed)
