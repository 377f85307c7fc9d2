"""Seeded schedules of faults over a simulated fleet: whatever fails, no stale owner answers or commits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from actors.errors import ServiceError
from actors.fleet.fleet import Fleet
from actors.ownership.leader_election import LeaderElection
from cache_store.errors import StoreError
from pipeline.answers import Done, QuestionError, Started
from pipeline.cameras import CameraError, CameraSpec
from tests import virtual_time
from tests.chaos import simulated
from tests.chaos.history import Event, History
from tests.chaos.simulated import SimulatedShard
from tests.chaos.simulated_store import SimulatedStore
from tests.virtual_time import now_s

SCHEDULES = int(os.environ.get("HERMES_CHAOS_SCHEDULES", "40"))
HISTORIES = Path(os.environ.get("HERMES_CHAOS_HISTORIES", ".chaos"))
CAMERAS = tuple(f"camera{number}" for number in range(6))
FAULTY_S, QUIET_S = 90.0, 40.0


class RunningFleet:
    """A fleet with its candidacy for leadership, as one process runs them."""

    def __init__(self, fleet: Fleet, election: LeaderElection) -> None:
        self.fleet = fleet
        self._election = election
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._election.run()), asyncio.create_task(self.fleet.run())]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


class World:
    """Three shards under two fleets, clients that ask all the time, and the faults of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.history = History(seed)
        self.store = SimulatedStore(self.rng, self.history)
        self.shards = [SimulatedShard(number, self.store) for number in range(3)]
        self.fleets = [self._new_fleet() for _ in range(2)]
        excluded = self.rng.choice(TOO_MUCH_TOGETHER)
        self.faults = [fault for fault in FAULTS if fault is not excluded]
        self.answered_s: dict[str, float] = {}
        self.errors: list[BaseException] = []
        self._background: set[asyncio.Task[None]] = set()

    def _new_fleet(self) -> RunningFleet:
        fleet, election = simulated.simulated_fleet(self.shards, self.store)
        for name in CAMERAS:
            fleet.add_configured_camera(CameraSpec(name=name, url="sim:street"))
        return RunningFleet(fleet, election)

    async def run(self) -> None:
        """Injects faults for a while, then none, so that every camera can be restored."""
        for running in self.fleets:
            running.start()
        for work in (self._note_proven_owners(), *(self._ask(name) for name in CAMERAS)):
            self._start(work)
        await asyncio.sleep(5.0)
        while now_s() < 1_000.0 + FAULTY_S:
            await asyncio.sleep(self.rng.expovariate(1 / 4.0))
            self._start(self.rng.choice(self.faults)(self))
        await asyncio.sleep(QUIET_S)
        for task in self._background:
            task.cancel()
        for running in self.fleets:
            running.stop()

    def note(self, fault: str) -> None:
        self.history.add(Event(now_s(), "fault", detail=fault))

    def _start(self, work) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """A client, an observer or a fault that broke would leave the run without proof."""
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _ask(self, name: str) -> None:
        """A client that notes every answer that a fleet lets through."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.1, 0.6))
            try:
                started, frames = None, ""
                async for event in self.rng.choice(self.fleets).fleet.ask(name, "how many"):
                    if isinstance(event, Started):
                        started = event
                    elif isinstance(event, Done):
                        frames = event.answer
            except (ServiceError, QuestionError, StoreError):
                continue
            assert started is not None
            self.answered_s[name] = now_s()
            self.history.add(Event(now_s(), "answer", started.camera_id, started.epoch, started.answer_id, int(frames)))

    async def _note_proven_owners(self) -> None:
        """Notes all the time which running processes own a camera and can prove it, so that they would answer."""
        while True:
            await asyncio.sleep(0.05)
            for process in (one for shard in self.shards for one in shard.processes if not one.is_hung):
                for camera_id in process.streams:
                    owner = process.lease_holder.owner(camera_id)
                    if owner is not None and process.lease_holder.is_proven:
                        process.note("proven", camera_id, owner)

    async def kill(self) -> None:
        shard = self.rng.choice(self.shards)
        self.note(f"shard {shard.process.incarnation.id} killed")
        shard.process.kill()
        await asyncio.sleep(self.rng.uniform(0.5, 3.0))
        if shard.process.is_dead:
            shard.replace_process()

    async def outlive(self) -> None:
        """Ray starts the next process while the last one lives on for a while, in half of the cases hung at first."""
        shard = self.rng.choice(self.shards)
        last = shard.replace_process()
        shard.zombies.append(last)
        self.note(f"shard {last.incarnation.id} replaced, still alive")
        if self.rng.random() < 0.5:
            await last.hang(self.rng.uniform(1.0, 12.0))
        await asyncio.sleep(self.rng.uniform(0.0, 12.0))
        last.kill()

    async def hang(self) -> None:
        process = self.rng.choice(self.shards).process
        self.note(f"shard {process.incarnation.id} hangs")
        await process.hang(self.rng.uniform(0.2, 15.0))

    async def store_down(self) -> None:
        self.note("store down")
        self.store.is_down = True
        await asyncio.sleep(self.rng.choice([self.rng.uniform(0.2, 4.0), self.rng.uniform(4.0, 20.0)]))
        self.store.is_down = False

    async def store_slow(self) -> None:
        self.note("store slow")
        self.store.slowness_s = self.rng.uniform(0.05, 1.0)
        await asyncio.sleep(self.rng.uniform(1.0, 10.0))
        self.store.slowness_s = 0.002

    async def store_emptied(self) -> None:
        self.note("store emptied")
        self.store.forget_everything()

    async def clock_steps(self) -> None:
        self.note("clock of the store steps")
        self.store.clock_step_s += self.rng.uniform(-7_200, 3_600)

    async def fleet_restarts(self) -> None:
        """Ends without resigning, as by SIGKILL."""
        index = self.rng.randrange(len(self.fleets))
        self.note(f"fleet {index} restarted")
        self.fleets[index].stop()
        self.fleets[index] = self._new_fleet()
        self.fleets[index].start()

    async def unreachable(self) -> None:
        shard = self.rng.choice(self.shards)
        self.note(f"shard {shard.process.incarnation.id} unreachable")
        shard.is_unreachable = True
        await asyncio.sleep(self.rng.uniform(0.5, 12.0))
        shard.is_unreachable = False

    async def move(self) -> None:
        name, to_shard = self.rng.choice(CAMERAS), self.rng.randrange(len(self.shards))
        self.note(f"{name} moves to shard {to_shard}")
        with contextlib.suppress(ServiceError, QuestionError, StoreError, CameraError):
            await self.rng.choice(self.fleets).fleet.move_camera(name, to_shard)

    async def drain(self) -> None:
        """Drains a shard and restarts its process, as for an upgrade."""
        index = self.rng.randrange(len(self.shards))
        shard, drained = self.shards[index], self.shards[index].process
        self.note(f"shard {drained.incarnation.id} drained")
        with contextlib.suppress(ServiceError, StoreError):
            await self.rng.choice(self.fleets).fleet.drain(index)
        await asyncio.sleep(self.rng.uniform(0.0, 5.0))
        if shard.process is drained:
            drained.kill()
            shard.replace_process()


FAULTS = (
    World.kill,
    World.kill,
    World.outlive,
    World.outlive,
    World.hang,
    World.hang,
    World.store_down,
    World.store_slow,
    World.store_emptied,
    World.clock_steps,
    World.fleet_restarts,
    World.unreachable,
    World.move,
    World.move,
    World.drain,
)


# With all three, epochs may start again from the beginning: the store has lost them, its clock was set back, and no
# fleet remembers one. Each run has at most two of them.
TOO_MUCH_TOGETHER = (World.store_emptied, World.clock_steps, World.fleet_restarts)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_whatever_fails_a_camera_has_one_owner_and_comes_back(seed: int) -> None:
    world: list[World] = []

    async def run() -> None:
        world.append(World(seed))
        await world[0].run()

    virtual_time.run(run())

    history = world[0].history
    violations = history.violations()
    ended_s = history.events[-1].at_s
    silent = [name for name in CAMERAS if world[0].answered_s.get(name, 0.0) < ended_s - 5.0]
    if violations or silent:
        raise AssertionError(f"seed {seed}, see {history.save(HISTORIES)}: {violations[:5]} silent: {silent}")
    assert world[0].errors == []
    kinds = Counter(event.kind for event in history.events)
    assert kinds["answer"] > 100
    assert min(kinds["proven"], kinds["commit"]) > 100
    assert min(kinds["restored"], kinds["fault"]) > 4
