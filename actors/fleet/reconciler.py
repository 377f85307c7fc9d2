"""Reconciles shards with the fleet's state: assigns each camera to its shard, or to another one if its shard failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from actors.errors import InvalidShard, ServiceError, ShardUnavailable
from actors.fleet.records import CameraRecord, ShardRecord
from actors.fleet.state import FleetState
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import IsLeader
from cache_store.errors import OwnedByAnother, StoreError, StoreUnavailable
from cache_store.leases import UNOWNED, LeaseExpiry
from pipeline.cameras import CameraError, CameraStatus, TooManyCameras

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
# Grace period before the lease of an unreachable shard is revoked: its process may live on and would keep its cameras.
_UNREACHABLE_GRACE_S = 3.0
# Grace period before an incarnation that no reachable shard reports is retired: a fleet that has just started may not
# have heard from every shard yet.
_UNKNOWN_GRACE_S = 10.0
_RESTORES_AT_ONCE = 4  # on one shard


class Reconciler:
    """Brings the shards to what the state says. One event loop owns both. Only the leader assigns; others observe."""

    def __init__(self, state: FleetState, failure_detector: FailureDetector, is_leader: IsLeader) -> None:
        self._state = state
        self._failure_detector = failure_detector
        self._is_leader = is_leader
        # The last proof that the store has not lost its data. The store checks it again whenever it grants a camera.
        self._unowned_expiry: LeaseExpiry | None = None
        self._unknown_since_s: dict[str, float] = {}

    async def run(self) -> None:
        """Reconciles until cancelled; each shard in loops of its own, because a shard may hang."""
        indices = range(len(self._state.shards))
        loops = [partial(step, index) for step in (self._restore, self._fail_over) for index in indices]
        await asyncio.gather(*map(run_forever, loops))

    async def run_once(self) -> None:
        """Observes every shard, restores its missing cameras, and fails over those of shards whose lease expired."""
        # All shards are observed first, because a camera that one lacks may be on another.
        await self.observe_all()
        for step in (self._restore, self._fail_over):
            await asyncio.gather(*(step(index) for index in range(len(self._state.shards))))

    async def observe_all(self) -> None:
        """Records the status of every shard and its cameras."""
        await asyncio.gather(*(self.observe(index) for index in range(len(self._state.shards))))

    async def observe(self, index: int) -> list[CameraRecord]:
        """Records the status of a shard and its cameras. -> the cameras that it lacks, see FleetState.observe"""
        record = self._state.shards[index]
        try:
            status = await record.shard.status()
        except ShardUnavailable as error:
            if record.is_up:
                log.warning("shard_down", shard=index, reason=str(error))
            self._state.mark_shard_down(index, asyncio.get_running_loop().time())
            return []
        if not record.is_up:
            log.info("shard_up", shard=index, pid=status.pid)
        self._adopt(index, status.cameras)
        return self._state.observe(index, status)

    async def assign(self, record: CameraRecord) -> None:
        """Adds the camera to its shard. If another shard owned it, that owner's lease must have expired.

        Raises CameraError, ServiceError and StoreError, OwnedByAnother among them.
        """
        shard = self._state.shard_of(record).shard
        # Above every epoch seen anywhere: a store that lost its data, with a clock set back, would grant stale epochs.
        assignment = replace(record.assignment, min_epoch=self._state.newest_epoch, expiry=self._unowned_expiry)
        try:
            await shard.add_camera(assignment)
        except OwnedByAnother as error:
            expiry = await self._failure_detector.expiry(error.incarnation)
            if expiry is None:
                await self._retire_if_unknown(error.incarnation)
                raise
            self._unknown_since_s.pop(error.incarnation, None)
            if expiry.incarnation == UNOWNED:
                self._unowned_expiry = expiry
            else:
                log.info(
                    "camera_taken_over",
                    camera=record.spec.name,
                    from_incarnation=expiry.incarnation,
                    died=expiry.is_dead,
                )
            await shard.add_camera(replace(assignment, expiry=expiry))

    def _adopt(self, index: int, statuses: Sequence[CameraStatus]) -> None:
        """Records cameras that this shard owns by now, e.g. after an assignment whose reply was lost."""
        for status in statuses:
            record = self._state.cameras_by_id.get(status.id)
            if record is None or record.shard_index == index:
                continue
            if status.epoch and status.epoch >= record.newest_epoch:
                log.info("camera_adopted", camera=status.name, expected_shard=record.shard_index, shard=index)
                self._state.reassign(record, index)

    async def _restore(self, index: int) -> None:
        """Assigns to a shard the cameras that it lacks."""
        missing = await self.observe(index)
        if self._is_leader() and self._state.shards[index].is_up:
            await self._assign_all(missing, index, has_failed=False)

    async def _fail_over(self, index: int) -> None:
        """Assigns the cameras of a shard that is down to other shards, once its lease has expired."""
        if not self._is_leader():
            return
        record = self._state.shards[index]
        await self._check_lease(record)
        if not record.is_up and record.expiry is not None:
            await self._assign_all(self._state.cameras_on(index), index, has_failed=True)

    async def _check_lease(self, record: ShardRecord) -> None:
        """Records whether the shard's lease has expired. While the store is unavailable, nothing is proven."""
        if record.incarnation is None:
            return
        try:
            record.mark_expiry(await self._failure_detector.expiry(record.incarnation))
            now_s = asyncio.get_running_loop().time()
            is_unreachable = record.down_since_s is not None and now_s - record.down_since_s >= _UNREACHABLE_GRACE_S
            if record.expiry is None and is_unreachable:
                await self._failure_detector.retire(record.incarnation)
        except StoreUnavailable:
            record.mark_expiry(None)

    async def _assign_all(self, records: Iterable[CameraRecord], index: int, *, has_failed: bool) -> None:
        """Assigns each camera to the shard, or to another if it failed or is full; the last asked first."""
        slots = asyncio.Semaphore(_RESTORES_AT_ONCE)

        async def assign(record: CameraRecord) -> None:
            async with slots, record.lock:
                if self._state.cameras.get(record.spec.name) is record and record.shard_index == index:
                    await self._assign_somewhere(record, has_failed=has_failed)

        await asyncio.gather(*(assign(record) for record in sorted(records, key=lambda one: -one.last_question_s)))

    async def _assign_somewhere(self, record: CameraRecord, *, has_failed: bool) -> None:
        """Assigns the camera to the first shard that takes it. A failure is shown in its status and retried later."""
        index = record.shard_index
        # The other shards' free slots are counted over all cameras, so only once the own shard refuses.
        candidates, tried = self._state.shards_with_capacity(exclude=index) if has_failed else [index], set()
        try:
            while candidates:
                candidate = candidates.pop(0)
                tried.add(candidate)
                self._state.reassign(record, candidate)
                try:
                    await self.assign(record)
                except (TooManyCameras, InvalidShard):
                    if candidate == index:
                        candidates = self._state.shards_with_capacity(exclude=index)
                    continue
                except OwnedByAnother as error:
                    owner = self._state.index_of(error.incarnation)
                    if owner is None or owner in tried:
                        raise
                    # A move broke off after the release: the camera is reserved for that shard.
                    candidates = [owner]
                    continue
                if candidate != index:
                    log.info("camera_reassigned", camera=record.spec.name, from_shard=index, to_shard=candidate)
                return
            self._state.reassign(record, index)
            record.mark_recovering(
                f"shard {index} is down and no other shard that takes cameras has a free slot"
                if has_failed
                else "no shard has a free slot"
            )
        except (StoreError, ServiceError) as error:
            self._state.reassign(record, index)
            record.mark_recovering(str(error))
        except CameraError as error:
            record.mark_failed(str(error))

    async def _retire_if_unknown(self, incarnation: str) -> None:
        """Revokes the lease of an incarnation that no reachable shard reports: its process outlived its replacement."""
        if incarnation == UNOWNED or not self._is_leader():
            return
        if self._state.index_of(incarnation) is not None:
            self._unknown_since_s.pop(incarnation, None)
            return
        now_s = asyncio.get_running_loop().time()
        since_s = self._unknown_since_s.setdefault(incarnation, now_s)
        if self._state.has_replaced(incarnation) or now_s - since_s >= _UNKNOWN_GRACE_S:
            await self._failure_detector.retire(incarnation)


async def run_forever(work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work` once a second until cancelled. An error is logged and does not end the loop."""
    while True:
        try:
            await work()
        except Exception:  # the border of one pass of the loop: the next pass tries again
            log.exception("reconcile_failed")
        await asyncio.sleep(_EVERY_S)
