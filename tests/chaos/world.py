"""A fleet in virtual time: three shards under two servers over one store, and the clients that ask all the time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from actors.errors import ServiceError
from actors.fleet.fleet import Fleet
from cache_store.errors import StoreError
from cache_store.leases import FENCED
from pipeline.answers import Done, QuestionError, Started
from pipeline.cameras import CameraError, CameraSpec
from tests.chaos.history import Event, History
from tests.chaos.simulated_device import Scenes, SeenFrames
from tests.chaos.simulated_server import Configuration, SimulatedServer
from tests.chaos.simulated_shard import ShardOfProcess, SimulatedShard
from tests.chaos.simulated_store import SimulatedStore
from tests.chaos.virtual_process import ProcessEnded
from tests.virtual_time import now_s

CONFIGURED = tuple(f"camera{number}" for number in range(6))  # edited configurations change the last two
PERMANENT = CONFIGURED[:-2]
ADDED = ("extra0", "extra1", "extra2")  # by clients
_CALL_TIMEOUT_S = 60.0
_REFUSALS = (ServiceError, QuestionError, StoreError, CameraError, ProcessEnded, TimeoutError)

T = TypeVar("T")


def spec_of(name: str, source: int = 0, login: int = 0) -> CameraSpec:
    return CameraSpec(name=name, url=f"rtsp://user:password{login}@{name}-{source}.example/stream")


class World:
    """Everything that one seed decides."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.history = History(seed)
        self.store = SimulatedStore(self.rng, self.history)
        self.configuration = Configuration(tuple(map(spec_of, CONFIGURED)))
        scenes = Scenes()
        self.shards = [SimulatedShard(number, self.store, scenes, self.rng) for number in range(3)]
        self.servers = [SimulatedServer(number, self.shards, self.store, self.rng) for number in range(2)]
        self.answered_s: dict[str, float] = {}
        self.errors: list[BaseException] = []
        self._background: dict[asyncio.Task[None], None] = {}

    @property
    def running(self) -> list[SimulatedShard]:
        """The shards that no server has ended; the first one never is."""
        return [shard for shard in self.shards if not shard.is_ended]

    @property
    def lives(self) -> list[ShardOfProcess]:
        """The processes of all shards that have not ended."""
        return [life for shard in self.shards for life in shard.alive]

    async def run(
        self, faults: list[Callable[[World], Coroutine[Any, Any, None]]], *, faulty_s: float, quiet_s: float
    ) -> None:
        """Injects faults for a while, then none, so that every camera can be restored."""
        for server in self.servers:
            server.restart(self.configuration)
        for name in (*CONFIGURED, *ADDED):
            self._start(self._ask(name))
        self._start(self._note_proven_owners())
        await asyncio.sleep(5.0)
        running, end_s = [], now_s() + faulty_s
        while now_s() < end_s:
            await asyncio.sleep(self.rng.expovariate(1 / 3.0))
            fault = self.rng.choice(faults)
            self.history.steps[fault.__name__] += 1
            running.append(self._start(fault(self)))
        await asyncio.wait(running)
        await asyncio.sleep(quiet_s)
        await self._note_end()
        await self._end()

    def note(self, kind: str, camera_id: str = "", name: str = "", detail: str = "", since_s: float = 0.0) -> None:
        self.history.add(Event(now_s(), kind, camera_id, name=name, detail=detail, since_s=since_s))

    @property
    def now_s(self) -> float:
        return now_s()

    def note_resumed(self, incarnation: str) -> None:
        self.history.add(Event(now_s(), "resumed", incarnation=incarnation))

    def note_fault(self, detail: str) -> None:
        self.note("fault", detail=detail)

    def note_forgotten(self) -> None:
        """Notes what nobody can know any more: the registry has lost it, and every process that knew it has ended."""
        fleets = [server.fleet for server in self.servers if server.fleet is not None]
        registered = {entry.id for entry in self.store.registry.entries.values()}
        for camera_id in self.history.ids_of("added"):
            if camera_id not in registered and not any(camera_id in fleet._state.cameras_by_id for fleet in fleets):
                self.note("forgotten", camera_id)
        for camera_id in self.history.ids_of("unregistered"):
            if camera_id in registered and not any(camera_id in fleet._state.removed for fleet in fleets):
                self.note("forgotten", camera_id)

    async def operate(self, work: Callable[[Fleet], Coroutine[Any, Any, T]]) -> T | None:
        """Performs an operation by one of the servers. -> its result, None if it failed"""
        server = self.rng.choice(self.servers)
        if server.fleet is None:
            return None
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return await server.process.call(work(server.fleet))
        except _REFUSALS:
            return None

    def silent(self, since_s: float) -> list[str]:
        """The names in the registry that no client got an answer for since then."""
        return sorted(name for name in self.store.registry.entries if self.answered_s.get(name, 0.0) < since_s)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._background[task] = None
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """A client, an observer or a fault that broke would leave the run without proof."""
        self._background.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _ask(self, name: str) -> None:
        """A client that notes every answer that a server lets through."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.1, 0.6))
            answer = await self.operate(lambda fleet: self._answer(fleet, name))
            if answer is not None:
                if name in PERMANENT and name not in self.answered_s:
                    self.note("added", answer.camera, name, since_s=now_s())
                self.answered_s[name] = now_s()
                self.history.add(answer)

    async def _answer(self, fleet: Fleet, name: str) -> Event | None:
        asked_s, started = now_s(), None
        async for event in fleet.ask(name, "how many"):
            if isinstance(event, Started):
                started = event
            elif isinstance(event, Done) and started is not None:
                seen = SeenFrames.from_text(event.answer)
                return Event(
                    now_s(),
                    "answer",
                    started.camera_id,
                    started.epoch,
                    started.answer_id,
                    seen.count,
                    name=name,
                    since_s=asked_s,
                    first_s=seen.first_s,
                    scenes=seen.scenes,
                )
        return None

    async def _note_proven_owners(self) -> None:
        """Notes all the time which running processes own a camera and can prove it, so that they would answer."""
        while True:
            await asyncio.sleep(0.05)
            for life in self.lives:
                if not life.process.is_stopped:
                    for camera_id, owner in life.proven().items():
                        self.history.add(Event(now_s(), "proven", camera_id, owner.epoch, owner.incarnation))

    async def _note_end(self) -> None:
        """Notes what is registered, what is watched, and what is left of everything that ever was."""
        entries = self.store.registry.entries
        for entry in entries.values():
            self.note("present", entry.id, entry.name, entry.assignment.spec.url)
        for life in self.lives:
            for camera_id in life.watched():
                self.note("watched", camera_id, detail=life.spec_url(camera_id))
        fleets = [server.fleet for server in self.servers if server.fleet is not None]
        target = max((fleet.shard_numbers.target for fleet in fleets), default=len(self.shards))
        for shard in self.running:
            if shard.number >= target:
                self.note("excess", detail=shard.process.name)
        for name, ids in self.store.names.items():
            for camera_id in ids:
                owner = await self.store.leases.owner(camera_id)
                if owner is not None and owner.incarnation != FENCED:
                    self.note("left", camera_id, name, f"lease of {owner.incarnation}")
                if self.store.checkpoints.has_checkpoints(camera_id):
                    self.note("left", camera_id, name, "checkpoint")

    async def _end(self) -> None:
        """Ends everything; what the processes still do to the store does not count."""
        self.history.is_over = True
        for task in self._background:
            task.cancel()
        self.store.is_down = True
        for process in (
            *(life.process for shard in self.shards for life in shard.lives),
            *(process for server in self.servers for process in server.processes),
        ):
            process.bury()
        await asyncio.sleep(0)
