"""Who of several fleets supervises: brings cameras to shards and moves them. The others look, and take questions.

The role is owned like a camera: whoever follows has seen its owner's lease stand still. Two at once do no harm, since
shards are fenced by their own leases; they would only undo each other's moves.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

import structlog

from actors import task_cancellation
from actors.config.schema import LeaseConfig
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.lease_holder import LeaseHolder
from cache_store.checkpoint import StoreError
from cache_store.leases import Leases, OwnedByAnother, ProcessIdentity, ShardIncarnation

log = structlog.get_logger(__name__)

ROLE = "#supervisor"  # no camera has such a name
_EVERY_S = 1.0

IsLeader = Callable[[], bool]


class LeaderElection:
    """One fleet's bid for the role."""

    def __init__(
        self,
        leases: Leases,
        owners: FailureDetector,
        settings: LeaseConfig,
        *,
        home: ProcessIdentity | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owners = owners
        incarnation = ShardIncarnation(uuid.uuid4().hex, home)
        self._tenure = LeaseHolder(leases, incarnation, settings, on_lost=self._lose, clock=clock)

    def is_mine(self) -> bool:
        """Whether this fleet supervises, beyond doubt."""
        return self._tenure.is_proven and self._tenure.owner(ROLE) is not None

    async def run(self) -> None:
        """Takes the role whenever it is to be had, for ever."""
        renewing = asyncio.create_task(self._tenure.run(), name="renewals of the supervisor's lease")
        try:
            while True:
                await self.bid()
                await asyncio.sleep(_EVERY_S)
        finally:
            await task_cancellation.end(renewing)
            await self._tenure.release(ROLE)

    async def bid(self) -> None:
        """Takes the role if it is to be had."""
        if self._tenure.owner(ROLE) is not None:
            return
        try:
            try:
                await self._tenure.acquire(ROLE)
            except OwnedByAnother as error:
                gone = await self._owners.gone(error.incarnation)
                if gone is None:
                    return
                await self._tenure.acquire(ROLE, gone=gone)
        except StoreError as error:
            log.debug("not_supervising", reason=str(error))
            return
        log.info("supervising")

    async def _lose(self, _: str) -> None:
        log.warning("supervising_no_more")
