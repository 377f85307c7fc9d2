"""Seeded faults on a real Ray cluster with a real store: processes, nodes, raylets and the store fail or hang."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from actors import embedded_store, system, task_cancellation
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.errors import ServiceError
from actors.system import System
from benchmarks import nodes
from benchmarks.nodes import Nodes
from cache_store.errors import StoreError
from cache_store.redis_store import RedisCheckpointStore
from models import registry
from pipeline.answers import QuestionError, Started
from pipeline.cameras import CameraError, CameraSpec, CameraState
from pipeline.device.device_config import DeviceConfig
from tests.chaos.history import Event, History

SCHEDULES = int(os.environ.get("HERMES_CHAOS_CLUSTER_SCHEDULES", "1"))
IS_SHORT = "HERMES_CHAOS_CLUSTER_SCHEDULES" not in os.environ  # `make test` kills one node; `make chaos` does it all
HISTORIES = Path(os.environ.get("HERMES_CHAOS_HISTORIES", ".chaos"))
CAMERAS = tuple(f"camera{number}" for number in range(4))
# If every shard is lost, a process has to start and load the model first: a minute on a busy machine.
RECOVERY_TIMEOUT_S = 150.0
FAULTS_PER_SCHEDULE = 3
SHARDS = 2

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]


class World:
    """Two shards on a cluster's nodes under one fleet, clients that ask all the time, and the faults of one seed."""

    def __init__(self, seed: int, environment: Environment) -> None:
        self.rng = random.Random(seed)
        self.history = History(seed)
        self.cluster = environment.cluster
        self.silent: list[str] = []
        self._fingerprint = environment.fingerprint
        self.answered_s: dict[str, float] = {}
        self.systems: list[System] = []
        self._store_url = environment.store_url
        self._checkpoints = RedisCheckpointStore(environment.store_url)
        self._epochs: dict[str, int] = {}

    async def run(self) -> None:
        """Injects faults, each with some time to recover, then waits until every camera has answered."""
        async with contextlib.AsyncExitStack() as stack:
            self.systems.append(await stack.enter_async_context(self._start_system()))
            tasks = [asyncio.create_task(work) for work in (self._note_commits(), *map(self._ask, CAMERAS))]
            await self._until_all_answer()
            for fault in self.faults():
                await asyncio.sleep(self.rng.uniform(2.0, 8.0))
                await fault(self)
            self.silent = await self._until_all_answer()
            await task_cancellation.end(*tasks)
            await self._checkpoints.close()

    async def _until_all_answer(self) -> list[str]:
        """Waits until every camera has answered from now on. -> the cameras that have not after a timeout"""
        began_s = time.time()

        def silent() -> list[str]:
            return [name for name in CAMERAS if self.answered_s.get(name, 0.0) <= began_s]

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY_TIMEOUT_S):
                while silent():  # noqa: ASYNC110 - the answers come from other processes
                    await asyncio.sleep(0.2)
        return silent()

    def faults(self) -> Iterator[Callable[[World], Awaitable[None]]]:
        """The faults of this schedule; each is drawn when the one before is over."""
        if IS_SHORT:
            yield World.kill_node
            return
        for _ in range(FAULTS_PER_SCHEDULE):
            yield self.rng.choice(FAULTS)

    def note(self, fault: str) -> None:
        self.history.add(Event(time.time(), "fault", detail=fault))

    def _start_system(self) -> contextlib.AbstractAsyncContextManager[System]:
        settings = HermesConfig(
            shards=ShardsConfig(
                count=SHARDS,
                ray=self.cluster.address,
                checkpoint_every_s=2.0,
                device=DeviceConfig(max_cameras=len(CAMERAS)),
            ),
            store=self._store_url,
            router=RouterConfig(port=0),
            cameras=tuple(
                CameraSpec(name=name, url=f"sim:street?seed={number}") for number, name in enumerate(CAMERAS)
            ),
        )
        return system.running(settings)

    async def _ask(self, name: str) -> None:
        """A client that notes every answer that a fleet lets through."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.2, 0.8))
            try:
                epoch = 0
                async for event in self.rng.choice(self.systems).fleet.ask(name, "what is in view"):
                    if isinstance(event, Started):
                        epoch = event.epoch
                self.history.add(Event(time.time(), "answer", name, epoch))
                self.answered_s[name] = time.time()
            except (ServiceError, QuestionError, StoreError):
                continue

    async def _note_commits(self) -> None:
        """Notes the checkpoints in the store, and how many frames an owner in a new epoch has restored."""
        while True:
            await asyncio.sleep(0.5)
            with contextlib.suppress(StoreError, ServiceError, TimeoutError):
                async with asyncio.timeout(3.0):
                    await self._note_once()

    async def _note_once(self) -> None:
        for view in await self.systems[0].fleet.list_cameras():
            status = view.status
            if status.epoch > self._epochs.get(status.name, 0) and status.state is CameraState.LIVE:
                self._epochs[status.name] = status.epoch
                frames = status.memory.frames_seen
                self.history.add(Event(time.time(), "restored", status.name, status.epoch, frames=frames))
        for name in CAMERAS:
            checkpoint = await self._checkpoints.load(name, self._fingerprint)
            if checkpoint is not None:
                self.history.add(Event(time.time(), "commit", name, frames=checkpoint.facts.frames_seen))

    async def _pid(self) -> int:
        """The process of a random shard that is up."""
        pids: list[int] = []
        while not pids:
            pids = [shard.pid for shard in await self.systems[0].fleet.list_shards() if shard.is_up and shard.pid]
            await asyncio.sleep(0.2)
        return self.rng.choice(pids)

    async def kill_process(self) -> None:
        pid = await self._pid()
        self.note(f"process {pid} killed")
        os.kill(pid, signal.SIGKILL)

    async def hang_process(self) -> None:
        pid, for_s = await self._pid(), self.rng.uniform(1.0, 15.0)
        self.note(f"process {pid} hangs for {for_s:.1f} s")
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(for_s)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    async def kill_node(self) -> None:
        pid = await self._pid()
        self.note(f"node of process {pid} killed")
        self.cluster.kill(pid)
        await asyncio.sleep(self.rng.uniform(0.0, 10.0))
        self.cluster.add()

    async def hang_node(self) -> None:
        pid, for_s = await self._pid(), self.rng.uniform(2.0, 20.0)
        self.note(f"node of process {pid} hangs for {for_s:.1f} s")
        self.cluster.hang(pid)
        await asyncio.sleep(for_s)
        self.cluster.wake()
        self.cluster.add()

    async def hang_raylet(self) -> None:
        """Ray gives the node up while the shard on it lives on and renews its lease."""
        pid, for_s = await self._pid(), self.rng.uniform(5.0, 20.0)
        self.note(f"raylet of process {pid} hangs for {for_s:.1f} s")
        self.cluster.hang_raylet(pid)
        await asyncio.sleep(for_s)
        self.cluster.wake()
        self.cluster.add()

    async def hang_store(self) -> None:
        for_s = self.rng.choice([self.rng.uniform(0.5, 4.0), self.rng.uniform(6.0, 15.0)])
        self.note(f"store hangs for {for_s:.1f} s")
        self._store.send_signal(signal.SIGSTOP)
        await asyncio.sleep(for_s)
        self._store.send_signal(signal.SIGCONT)

    async def move(self) -> None:
        name = self.rng.choice(CAMERAS)
        self.note(f"{name} moves to another shard")
        with contextlib.suppress(ServiceError, QuestionError, StoreError, CameraError):
            await self.systems[0].fleet.move_camera(name)

    @property
    def _store(self) -> psutil.Process:
        """The store's server, a child of this process."""
        return next(child for child in psutil.Process().children(recursive=True) if "valkey" in child.name())


FAULTS = (
    World.kill_process,
    World.hang_process,
    World.kill_node,
    World.hang_node,
    World.hang_raylet,
    World.hang_store,
    World.move,
)


@dataclass(frozen=True, slots=True)
class Environment:
    """The cluster and store of all schedules, one after the other: the shards and their cameras live on in the next."""

    cluster: Nodes
    store_url: str
    fingerprint: str


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    fingerprint = registry.load_model("tiny", "cpu").spec.fingerprint
    with embedded_store.running(tmp_path_factory.mktemp("store")) as store_url, nodes.running(SHARDS + 1) as cluster:
        yield Environment(cluster, store_url, fingerprint)


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_whatever_fails_every_camera_comes_back_and_nothing_committed_is_lost(
    seed: int, environment: Environment
) -> None:
    world = World(seed, environment)
    await world.run()

    violations, silent = world.history.violations(), world.silent
    if violations or silent:
        raise AssertionError(f"seed {seed}, see {world.history.save(HISTORIES)}: {violations[:5]} silent: {silent}")
    assert {event.camera for event in world.history.events if event.kind == "answer"} == set(CAMERAS)
