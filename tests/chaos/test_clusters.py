"""Seeded faults on a real Ray cluster with a real store: processes, nodes, raylets and the store fail or hang."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from actors import embedded_store, system, task_cancellation
from actors.config.schema import HermesConfig, RouterConfig, ShardsConfig
from actors.errors import ServiceError
from actors.system import System
from benchmarks import nodes
from benchmarks.nodes import Nodes
from cache_store.checkpoint import StoreError
from cache_store.redis_store import RedisCheckpointStore
from models import registry
from pipeline.answers import QuestionError, Started
from pipeline.cameras import CameraError, CameraSpec, CameraState
from pipeline.device.device_config import DeviceConfig
from tests.chaos.history import Event, History

SCHEDULES = int(os.environ.get("HERMES_CHAOS_CLUSTER_SCHEDULES", "1"))
HISTORIES = Path(os.environ.get("HERMES_CHAOS_HISTORIES", ".chaos"))
CAMERAS = tuple(f"camera{number}" for number in range(4))
# With every shard lost it takes as long as a process that loads the model needs to start, on a busy machine a minute.
FAULTS_A_SCHEDULE, BACK_WITHIN_S = 3, 150.0
SHARDS = 2

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]


class World:
    """Two shards on a cluster's nodes under one fleet, somebody who asks all the time, and the faults of one seed."""

    def __init__(self, seed: int, ground: Ground) -> None:
        self.rng = random.Random(seed)
        self.history = History(seed)
        self.cluster = ground.cluster
        self.silent: list[str] = []
        self._fingerprint = ground.fingerprint
        self.answered_s: dict[str, float] = {}
        self.fleets: list[System] = []
        self._store_url = ground.store_url
        self._checkpoints = RedisCheckpointStore(ground.store_url)
        self._epochs: dict[str, int] = {}

    async def run(self) -> None:
        """Faults, each with some time to recover from, then quiet until every camera has answered."""
        async with contextlib.AsyncExitStack() as stack:
            self.fleets.append(await stack.enter_async_context(self.fleet()))
            await asyncio.sleep(8.0)
            watching = [asyncio.create_task(one) for one in (self._commits(), *map(self._ask, CAMERAS))]
            for _ in range(FAULTS_A_SCHEDULE):
                await asyncio.sleep(self.rng.uniform(2.0, 8.0))
                await self.rng.choice(FAULTS)(self)
            quiet_from_s = time.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BACK_WITHIN_S):
                    while not all(self.answered_s.get(name, 0.0) > quiet_from_s for name in CAMERAS):  # noqa: ASYNC110
                        await asyncio.sleep(0.2)
            self.silent = [name for name in CAMERAS if self.answered_s.get(name, 0.0) <= quiet_from_s]
            await task_cancellation.end(*watching)
            await self._checkpoints.close()

    def note(self, fault: str) -> None:
        self.history.add(Event(time.time(), "fault", detail=fault))

    def fleet(self) -> contextlib.AbstractAsyncContextManager[System]:
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
        """A client that believes what the fleet lets through."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.2, 0.8))
            try:
                epoch = 0
                async for event in self.rng.choice(self.fleets).fleet.ask(name, "what is in view"):
                    if isinstance(event, Started):
                        epoch = event.epoch
                self.history.add(Event(time.time(), "answer", name, epoch))
                self.answered_s[name] = time.time()
            except (ServiceError, QuestionError, StoreError):
                continue

    async def _commits(self) -> None:
        """What the store keeps of each camera, and what an owner in a new epoch knows of it."""
        while True:
            await asyncio.sleep(0.5)
            with contextlib.suppress(StoreError, ServiceError, TimeoutError):
                async with asyncio.timeout(3.0):
                    await self._look()

    async def _look(self) -> None:
        for placed in await self.fleets[0].fleet.list_cameras():
            status, known = placed.status, self._epochs.get(placed.status.name, 0)
            if status.epoch > known and status.state is CameraState.LIVE:
                self._epochs[status.name] = status.epoch
                frames = status.memory.frames_seen
                self.history.add(Event(time.time(), "restored", status.name, status.epoch, frames=frames))
        for name in CAMERAS:
            saved = await self._checkpoints.load(name, self._fingerprint)
            if saved is not None:
                self.history.add(Event(time.time(), "commit", name, frames=saved.facts.frames_seen))

    async def _pid(self) -> int:
        """Of the process of some shard that is up."""
        found: list[int] = []
        while not found:
            found = [one.pid for one in await self.fleets[0].fleet.list_shards() if one.is_up and one.pid]
            await asyncio.sleep(0.2)
        return self.rng.choice(found)

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
        self.note(f"{name} ordered to another shard")
        with contextlib.suppress(ServiceError, QuestionError, StoreError, CameraError):
            await self.fleets[0].fleet.move_camera(name)

    @property
    def _store(self) -> psutil.Process:
        """Ours: started by this very process."""
        return next(one for one in psutil.Process().children(recursive=True) if "valkey" in one.name())


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
class Ground:
    """What all schedules run on, one after the other: what a cluster's shards know, they know in the next one too."""

    cluster: Nodes
    store_url: str
    fingerprint: str


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    fingerprint = registry.load_model("tiny", "cpu").spec.fingerprint
    with embedded_store.running(tmp_path_factory.mktemp("store")) as store_url, nodes.running(SHARDS + 1) as cluster:
        yield Ground(cluster, store_url, fingerprint)


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_whatever_fails_every_camera_comes_back_and_nothing_committed_is_lost(seed: int, ground: Ground) -> None:
    world = World(seed, ground)
    await world.run()

    wrong, silent = world.history.faults(), world.silent
    if wrong or silent:
        raise AssertionError(f"seed {seed}, kept in {world.history.save(HISTORIES)}: {wrong[:5]} silent: {silent}")
    assert {event.camera for event in world.history.events if event.kind == "answer"} == set(CAMERAS)
