"""Empties a shard at an operator's request and says which cameras stayed, and why."""

from __future__ import annotations

import asyncio

import structlog

from actors.errors import InvalidShard
from actors.fleet import shard_views
from actors.fleet.actions import Move, Wait
from actors.fleet.executor import Executor
from actors.fleet.observer import Observer
from actors.fleet.plan import plan
from actors.fleet.reconciler import Reconciler
from actors.fleet.records import CameraRecord
from actors.fleet.state import FleetState
from actors.fleet.views import DrainResult
from actors.ownership.leader_election import IsLeader

log = structlog.get_logger(__name__)

_TIMEOUT_S = 45.0  # clients wait a minute
_POLL_EVERY_S = 0.25


class Drains:
    """Drains and undrains shards. One event loop owns it, with the state."""

    def __init__(
        self,
        state: FleetState,
        observer: Observer,
        reconciler: Reconciler,
        executor: Executor,
        is_leader: IsLeader,
    ) -> None:
        self._state = state
        self._observer = observer
        self._reconciler = reconciler
        self._executor = executor
        self._is_leader = is_leader

    async def drain(self, index: int, *, force: bool) -> DrainResult:
        """See Fleet.drain."""
        others = [other for other, record in enumerate(self._state.shards) if record.is_accepting and other != index]
        if not others and not force:
            raise InvalidShard(
                f"shard {index}: no other shard takes cameras, so its {len(self._state.cameras_on(index))} cameras "
                "would stay and no camera could be added; pass force (--force) to drain it all the same, and hermes "
                f"shards undrain {index} lets it take cameras again"
            )
        await self._state.shards[index].shard.drain()
        for record in self._state.cameras_on(index):
            record.mark_waiting("")
        await self._observer.observe(index)
        await self._await_moves(index)
        stayed = self._state.cameras_on(index)
        for record in stayed:
            record.mark_waiting(record.wait_reason or self._reason(record))
        if not stayed:
            log.info("shard_drained", shard=index)
        not_moved = tuple(sorted((record.spec.name, record.wait_reason) for record in stayed))
        return DrainResult(shard_views.of_one(self._state, index), not_moved)

    async def undrain(self, index: int) -> None:
        """Lets a shard take cameras again. Raises ShardUnavailable."""
        await self._state.shards[index].shard.undrain()
        await self._observer.observe(index)
        self._reconciler.wake()

    async def _await_moves(self, index: int) -> None:
        """Returns when the shard is empty, when each camera that is left has a reason, or after a timeout."""
        deadline_s = asyncio.get_running_loop().time() + _TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline_s:
            left = self._state.cameras_on(index)
            if all(record.wait_reason and not record.lock.locked() for record in left):
                return
            if self._is_leader():
                actions = plan(self._reconciler.snapshot())
                self._executor.start(action for action in actions if isinstance(action, Move | Wait))
            elif not self._state.shards[index].is_up:
                return
            await asyncio.sleep(_POLL_EVERY_S)
            if not self._is_leader():
                await self._observer.observe_all()

    def _reason(self, record: CameraRecord) -> str:
        if record.id not in self._state.shard_of(record).reported:
            return record.unavailable_reason
        if record.lock.locked() or self._is_leader():
            return f"not moved within {_TIMEOUT_S:g} s; hermes goes on with it"
        return "the leading server has not moved it yet"
