"""Elects the leader among several fleets: it assigns cameras to shards and moves them. Every fleet answers questions.

Leadership is owned like a camera: a successor has observed that the leader's lease expired. Two leaders at once are
harmless, because every shard is fenced by its own lease; they would only undo each other's moves.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import structlog

from actors import task_cancellation
from actors.config.shards import LeaseConfig
from actors.loops import run_forever
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.lease_holder import LeaseHolder
from cache_store.errors import OwnedByAnother, StoreError
from cache_store.leases import Leases, ProcessIdentity, ShardIncarnation
from pipeline.boot_clock import boot_time_s

log = structlog.get_logger(__name__)

LEADER_ROLE = "#supervisor"  # the key in the store; no camera can have such a name
_CAMPAIGN_EVERY_S = 1.0

IsLeader = Callable[[], bool]


class LeaderElection:
    """One fleet's candidacy for leadership. is_candidate: whether it campaigns; if not, it resigns at the next try."""

    def __init__(
        self,
        leases: Leases,
        failure_detector: FailureDetector,
        settings: LeaseConfig,
        *,
        process: ProcessIdentity | None = None,
        clock: Callable[[], float] = boot_time_s,
    ) -> None:
        self._failure_detector = failure_detector
        self.is_candidate = True
        incarnation = ShardIncarnation(uuid.uuid4().hex, process)
        self._lease_holder = LeaseHolder(leases, incarnation, settings, on_lost=self._on_lost, clock=clock)

    def is_leader(self) -> bool:
        """Whether this fleet is the leader and its lease proves it."""
        return self._lease_holder.is_proven and self.has_role()

    def has_role(self) -> bool:
        """Whether this fleet leads, or led last as far as it knows: while the store is away, nobody can prove more."""
        return self.is_candidate and self._lease_holder.owner(LEADER_ROLE) is not None

    async def run(self) -> None:
        """Campaigns for leadership until cancelled, then resigns."""
        renewals = asyncio.create_task(self._lease_holder.run(), name="renewals of the leader's lease")
        try:
            await run_forever(self.campaign, every_s=_CAMPAIGN_EVERY_S)
        finally:
            await task_cancellation.end(renewals)
            await self._lease_holder.release(LEADER_ROLE)

    async def campaign(self) -> None:
        """Becomes the leader if there is none, or if the lease of the present one has expired."""
        if not self.is_candidate:
            await self._lease_holder.release(LEADER_ROLE)
            return
        if self._lease_holder.owner(LEADER_ROLE) is not None:
            return
        try:
            try:
                await self._lease_holder.acquire(LEADER_ROLE)
            except OwnedByAnother as error:
                expiry = await self._failure_detector.expiry(error.incarnation)
                if expiry is None:
                    return
                await self._lease_holder.acquire(LEADER_ROLE, expiry=expiry)
        except StoreError as error:
            log.debug("campaign_failed", reason=str(error))
            return
        log.info("leader_elected")

    async def _on_lost(self, _: str) -> None:
        log.warning("leadership_lost")
