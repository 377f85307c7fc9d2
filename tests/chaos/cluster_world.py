"""A real cluster under two servers, the clients that ask all the time, and what is noted of it all."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from actors.config.schema import HermesConfig
from benchmarks import nodes
from benchmarks.nodes import Nodes
from cache_store.errors import StoreError
from console.client.client import HermesClient
from console.client.errors import ClientError
from protos import hermes_v1_pb2 as pb
from tests.chaos.cluster_servers import Servers
from tests.chaos.cluster_state import ClusterState
from tests.chaos.history import Event, History

CONFIGURED = tuple(f"camera{number}" for number in range(4))  # edited configurations change the last one
PERMANENT = CONFIGURED[:-1]
ADDED = ("extra0", "extra1")  # by clients
SHARDS = 2
# If every shard is lost, a process has to start and load the model first: a minute on a busy machine.
RECOVERY_TIMEOUT_S = 150.0
_STORE_TIMEOUT_S = 10.0

T = TypeVar("T")


def configured(name: str, seed: int = 0) -> dict[str, object]:
    """A camera as it stands in a configuration."""
    return {"name": name, "url": f"sim:street?seed={CONFIGURED.index(name) + 10 * seed}"}


@dataclass(frozen=True, slots=True)
class Environment:
    """The cluster and store of all schedules, one after the other: servers, shards and cameras live on in the next.

    camera: URL of a real camera, which shows a source of its own under each path.
    """

    cluster: Nodes
    servers: Servers
    settings: HermesConfig
    camera: str


class World:
    """What one seed decides. Each fault has an operation or two beside it."""

    def __init__(self, seed: int, environment: Environment) -> None:
        self.rng = random.Random(seed)
        self.history = History(seed)
        self.state = ClusterState(environment.settings, self.history)
        self.cluster, self.servers = environment.cluster, environment.servers
        self._camera = environment.camera
        self._answered_s: dict[str, float] = {}  # by camera, and by server
        self._refusals: dict[str, str] = {}  # the last one, by camera
        self._unexpected: list[str] = []
        self._is_over = False

    async def run(self, faults: Sequence[Step], operations: Sequence[Step]) -> list[str]:
        """Injects one fault after the other, then waits until all is well. -> what is not, at the end"""
        # A thread for each client and each operation, most of which wait for an answer.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16))
        work = [self._note(), self._keep_servers(), *map(self._ask, (*CONFIGURED, *ADDED))]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            if problems := await self._until_well():
                return [f"before the first fault: {problem}" for problem in problems]
            for fault in faults:
                self.keep_nodes()
                steps = [fault, *(self.rng.choice(operations) for _ in range(2))]
                results = await asyncio.gather(*map(self._begin, steps), return_exceptions=True)
                self._unexpected += [repr(error) for error in results if error is not None]
            return await self._until_well()
        finally:
            self._is_over = True
            await asyncio.gather(*tasks)
            await self.state.close()

    @property
    def now_s(self) -> float:
        return time.time()

    def note(self, kind: str, camera_id: str = "", name: str = "", since_s: float = 0.0) -> None:
        self.history.add(Event(self.now_s, kind, camera_id, name=name, since_s=since_s))

    def note_fault(self, detail: str) -> None:
        self.history.add(Event(self.now_s, "fault", detail=detail))

    def url_of(self, name: str, path: str | None = None) -> str:
        """The URL of one of a camera's two sources, with one of three passwords."""
        path = path or f"{name}-{self.rng.randrange(2)}"
        return f"http://user:password{self.rng.randrange(3)}@{self._camera.removeprefix('http://')}/{path}"

    async def operate(self, work: Callable[[HermesClient], T], *, name: str = "") -> T | None:
        """Performs an operation by one of the servers. -> its result, None if it failed. name: of its camera"""
        server = self.rng.choice(self.servers.processes)
        try:
            result = await server.call(work)
        except ClientError as error:
            self._refusals[name] = f"{server.name}: {error}"
            if error.reason == "SOURCE_INVALID":  # every source is there: nothing would be added, and so nothing tested
                self._unexpected.append(f"{server.name}: {error}")
            return None
        self._answered_s[server.name] = time.time()
        return result

    def keep_nodes(self) -> None:
        """Replaces lost nodes, as the owner of the machines does: each shard has room, and one node is spare."""
        self.cluster.keep(SHARDS + 1)

    async def pid(self) -> int:
        """The process of a random shard that is up."""
        while True:
            response = await self.operate(lambda hermes: hermes.list_shards())
            pids = [shard.pid for shard in response.shards if shard.state == pb.SHARD_STATE_UP] if response else []
            pids = [pid for pid in pids if nodes.node_of(pid)]  # a server may not know yet that one has ended
            if pids:
                return self.rng.choice(pids)
            await asyncio.sleep(0.2)

    async def _begin(self, step: Step) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, 3.0))
        self.history.steps[step.__name__] += 1
        await step(self)

    async def _until_well(self) -> list[str]:
        """Waits until nothing is wrong any more. -> what is after a timeout"""
        began_s, problems = time.time(), ["nothing was seen"]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY_TIMEOUT_S):
                while problems:
                    await asyncio.sleep(0.3)
                    self.keep_nodes()
                    with contextlib.suppress(StoreError):
                        problems = [*await self._problems(), *self._silent(await self._names(), began_s)]
        return problems

    async def _problems(self) -> list[str]:
        end = await self.state.at_end()
        return [*self._unexpected, *History(self.history.seed, [*self.history.events, *end]).violations()]

    async def _names(self) -> set[str]:
        return {*await self.state.entries(), *(server.name for server in self.servers.processes)}

    def _silent(self, names: set[str], since_s: float) -> list[str]:
        expected = names | set(PERMANENT)
        silent = [name for name in sorted(expected) if self._answered_s.get(name, 0.0) < since_s]
        return [f"{name} is silent: {self._refusals.get(name, '')}" for name in silent]

    async def _ask(self, name: str) -> None:
        """A client that notes every answer that a server lets through."""
        while not self._is_over:
            await asyncio.sleep(self.rng.uniform(0.2, 0.8))
            asked_s = time.time()
            events = await self.operate(lambda hermes: list(hermes.ask(name, "what is in view")), name=name)
            if events is None:
                continue
            started = events[0].started
            if name in PERMANENT and name not in self._answered_s:
                self.note("added", started.camera_id, name, since_s=time.time())
            self._answered_s[name] = time.time()
            self.history.add(Event(time.time(), "answer", started.camera_id, started.epoch, name=name, since_s=asked_s))

    async def _note(self) -> None:
        while not self._is_over:
            await asyncio.sleep(0.3)
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_STORE_TIMEOUT_S):
                    await self.state.note()

    async def _keep_servers(self) -> None:
        """Starts a server again that has ended by itself, as a supervisor does. Only one that starts may end so."""
        while not self._is_over:
            await asyncio.sleep(0.3)
            for server in self.servers.processes:
                if (code := server.exit_code) is not None:
                    self.note_fault(f"{server.name} ended with code {code}")
                    if server.is_ready:
                        self._unexpected.append(f"{server.name} ended by itself with code {code}")
                    server.start(self.servers.cameras)


Step = Callable[[World], Awaitable[None]]
