"""Seeded schedules of faults over a simulated fleet: whatever fails, nobody speaks for a camera that is not his."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path

import pytest

from actors.errors import ServiceError
from actors.fleet.fleet import Fleet
from actors.ownership.leader_election import LeaderElection
from cache_store.checkpoint import StoreError
from pipeline.answers import Done, QuestionError, Started
from pipeline.cameras import CameraError, CameraSpec
from tests import virtual_time
from tests.chaos import simulated
from tests.chaos.history import Event, History
from tests.chaos.simulated import SimulatedShard, Store
from tests.virtual_time import now_s

SCHEDULES = int(os.environ.get("HERMES_CHAOS_SCHEDULES", "40"))
HISTORIES = Path(os.environ.get("HERMES_CHAOS_HISTORIES", ".chaos"))
CAMERAS = tuple(f"camera{number}" for number in range(6))
FAULTY_S, QUIET_S = 90.0, 40.0


class RunningFleet:
    """A fleet with its bid to supervise, as a process runs them."""

    def __init__(self, held: Fleet, bid: LeaderElection) -> None:
        self.held = held
        self._bid = bid
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._bid.run()), asyncio.create_task(self.held.run())]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


class World:
    """Three shards under two fleets, somebody who asks all the time, and the faults of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.history = History(seed)
        self.store = Store(self.rng, self.history)
        self.shards = [SimulatedShard(number, self.store) for number in range(3)]
        self.fleets = [self._new_fleet() for _ in range(2)]
        spared = self.rng.choice(ALL_AT_ONCE_IS_TOO_MUCH)
        self.faults = [fault for fault in FAULTS if fault is not spared]
        self.answered_s: dict[str, float] = {}
        self._background: set[asyncio.Task[None]] = set()

    def _new_fleet(self) -> RunningFleet:
        held, bid = simulated.simulated_fleet(self.shards, self.store)
        for name in CAMERAS:
            held.add_configured_camera(CameraSpec(name=name, url="sim:street"))
        return RunningFleet(held, bid)

    async def run(self) -> None:
        """Faults for a while, then none, so that everything can come back."""
        for running in self.fleets:
            running.start()
        for work in (self._watch(), *(self._ask(name) for name in CAMERAS)):
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
        task.add_done_callback(self._background.discard)

    async def _ask(self, name: str) -> None:
        """One client of each fleet, who believes what it lets through."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.1, 0.6))
            try:
                started, known = None, ""
                async for event in self.rng.choice(self.fleets).held.ask(name, "how many"):
                    if isinstance(event, Started):
                        started = event
                    elif isinstance(event, Done):
                        known = event.answer
            except (ServiceError, QuestionError, StoreError):
                continue
            assert started is not None
            self.answered_s[name] = now_s()
            self.history.add(Event(now_s(), "answer", name, started.epoch, started.answer_id, int(known)))

    async def _watch(self) -> None:
        """Who would answer, at every moment: processes that run, own the camera and can prove it."""
        while True:
            await asyncio.sleep(0.05)
            for process in (process for held in self.shards for process in held.processes if not process.is_hung):
                for name in CAMERAS:
                    owner = process.tenure.owner(name)
                    if owner is not None and process.tenure.is_proven:
                        process.note("proven", name, owner)

    async def kill(self) -> None:
        held = self.rng.choice(self.shards)
        self.note(f"shard {held.process.incarnation.id} killed")
        held.process.kill()
        await asyncio.sleep(self.rng.uniform(0.5, 3.0))
        if held.process.is_dead:
            held.replace_process()

    async def outlive(self) -> None:
        """Ray starts the next process while the last one lives on for a while, perhaps hung at first."""
        held = self.rng.choice(self.shards)
        last = held.replace_process()
        held.zombies.append(last)
        self.note(f"shard {last.incarnation.id} replaced, and still alive")
        if self.rng.random() < 0.5:
            await last.hang(self.rng.uniform(1.0, 12.0))
        await asyncio.sleep(self.rng.uniform(0.0, 12.0))
        last.kill()

    async def hang(self) -> None:
        process = self.rng.choice(self.shards).process
        self.note(f"shard {process.incarnation.id} hangs")
        await process.hang(self.rng.uniform(0.2, 15.0))

    async def store_away(self) -> None:
        self.note("store away")
        self.store.is_away = True
        await asyncio.sleep(self.rng.choice([self.rng.uniform(0.2, 4.0), self.rng.uniform(4.0, 20.0)]))
        self.store.is_away = False

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

    async def supervisor_restarts(self) -> None:
        """Without a word, as by SIGKILL."""
        place = self.rng.randrange(len(self.fleets))
        self.note(f"fleet {place} restarted")
        self.fleets[place].stop()
        self.fleets[place] = self._new_fleet()
        self.fleets[place].start()

    async def unreachable(self) -> None:
        held = self.rng.choice(self.shards)
        self.note(f"shard {held.process.incarnation.id} cannot be reached")
        held.is_unreachable = True
        await asyncio.sleep(self.rng.uniform(0.5, 12.0))
        held.is_unreachable = False

    async def move(self) -> None:
        name, to_shard = self.rng.choice(CAMERAS), self.rng.randrange(len(self.shards))
        self.note(f"{name} ordered to shard {to_shard}")
        with contextlib.suppress(ServiceError, QuestionError, StoreError, CameraError):
            await self.rng.choice(self.fleets).held.move_camera(name, to_shard)

    async def drain(self) -> None:
        """And start it anew later, as for an update."""
        place = self.rng.randrange(len(self.shards))
        held, drained = self.shards[place], self.shards[place].process
        self.note(f"shard {drained.incarnation.id} drained")
        with contextlib.suppress(ServiceError, StoreError):
            await self.rng.choice(self.fleets).held.drain(place)
        await asyncio.sleep(self.rng.uniform(0.0, 5.0))
        if held.process is drained:
            drained.kill()
            held.replace_process()


FAULTS = (
    World.kill,
    World.kill,
    World.outlive,
    World.outlive,
    World.hang,
    World.hang,
    World.store_away,
    World.store_slow,
    World.store_emptied,
    World.clock_steps,
    World.supervisor_restarts,
    World.unreachable,
    World.move,
    World.move,
    World.drain,
)


# A store that forgets every epoch, on a clock that was set back, while nobody who knew one is left: then epochs begin
# anew. Each run has two of these at most.
ALL_AT_ONCE_IS_TOO_MUCH = (World.store_emptied, World.clock_steps, World.supervisor_restarts)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_whatever_fails_a_camera_has_one_voice_and_comes_back(seed: int) -> None:
    world: list[World] = []

    async def run() -> None:
        world.append(World(seed))
        await world[0].run()

    virtual_time.run(run())

    history = world[0].history
    wrong = history.faults()
    ended_s = history.events[-1].at_s
    silent = [name for name in CAMERAS if world[0].answered_s.get(name, 0.0) < ended_s - 5.0]
    if wrong or silent:
        raise AssertionError(f"seed {seed}, kept in {history.save(HISTORIES)}: {wrong[:5]} silent: {silent}")
    assert sum(event.kind == "answer" for event in history.events) > 100
