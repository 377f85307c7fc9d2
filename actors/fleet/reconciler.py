"""Brings what is to what shall be: observes the shards, plans and acts. A shard that hangs holds no other one up."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from actors import task_cancellation
from actors.fleet.actions import Action, Move, NoteBalance
from actors.fleet.executor import Executor
from actors.fleet.observer import Observer
from actors.fleet.plan import plan
from actors.fleet.snapshot import FleetSnapshot
from actors.fleet.state import FleetState
from actors.loops import run_forever
from actors.ownership.leader_election import IsLeader

_EVERY_S = 1.0
_PAUSE_PER_PLAN = 4.0
_MIN_PAUSE_S = 0.05  # between two plans, so that many actions that end together cause one plan


class Reconciler:
    """Observes, plans and acts until cancelled. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, observer: Observer, executor: Executor, is_leader: IsLeader) -> None:
        self._state = state
        self._observer = observer
        self._executor = executor
        self._is_leader = is_leader
        self._woken = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def wake(self) -> None:
        """Makes the next plan now instead of within a second."""
        self._woken.set()

    def snapshot(self) -> FleetSnapshot:
        """The state at this moment, for a plan."""
        return self._state.snapshot(asyncio.get_running_loop().time(), is_leader=self._is_leader())

    async def run(self) -> None:
        """Reconciles until cancelled."""
        try:
            await run_forever(self._pass)
        finally:
            await task_cancellation.end(*self._loops)
            await self._executor.stop()

    async def run_once(self) -> None:
        """Acts until nothing is left to be done at once. Moves no camera between shards."""
        await asyncio.gather(*(self._observer.check_lease(index) for index in range(len(self._state.shards))))
        while tasks := self._executor.start(self._without_moves()):
            await asyncio.gather(*tasks)

    def _without_moves(self) -> list[Action]:
        return [action for action in plan(self.snapshot()) if not isinstance(action, Move | NoteBalance)]

    async def _pass(self) -> None:
        """One plan. Sleeps until the next one is due."""
        for index in range(len(self._loops) // 2, len(self._state.shards)):
            self._loops.append(asyncio.create_task(run_forever(partial(self._observe, index), every_s=_EVERY_S)))
            self._loops.append(asyncio.create_task(run_forever(partial(self._check_lease, index))))
        self._woken.clear()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._executor.start(plan(self.snapshot()))
        # A plan of ten thousand cameras takes a tenth of a second: actions must get most of the time.
        await asyncio.sleep(max(_MIN_PAUSE_S, _PAUSE_PER_PLAN * (loop.time() - began_s)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_S):
                await self._woken.wait()

    async def _observe(self, index: int) -> None:
        shard = self._state.shards[index]
        before = shard.is_up, shard.incarnation, shard.is_draining
        await self._observer.observe(index)
        if (shard.is_up, shard.incarnation, shard.is_draining) != before:
            self.wake()

    async def _check_lease(self, index: int) -> None:
        """Checks the lease, then sleeps until the next check: at once when the shard's process ends."""
        shard = self._state.shards[index]
        before = shard.is_up, shard.expiry is None
        await self._observer.check_lease(index)
        if (shard.is_up, shard.expiry is None) != before:
            self.wake()
        await self._observer.wait(index, _EVERY_S)
