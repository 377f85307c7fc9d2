"""A fleet in virtual time: the real fleet, tenures and checkpointing over simulated devices, processes and a store."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from concurrent import futures
from typing import TypeVar

from actors.config.schema import LeaseConfig
from actors.errors import ShardUnavailable
from actors.fleet.fleet import Fleet
from actors.fleet.registry import InMemoryRegistry, RegistryEntry, RegistrySnapshot
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LEADER_ROLE, LeaderElection
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.checkpointer import Checkpointer
from actors.shard.interface import Assignment, ShardStatus
from cache_store.checkpoint import Checkpoint, StoreError, StoreUnavailable
from cache_store.leases import InMemoryLeases, Lease, LeaseExpiry, Owner, ShardIncarnation
from cache_store.store import InMemoryCheckpointStore
from pipeline.answers import AnswerEvent, Done, FinishReason, Started, Token, UnknownCamera
from pipeline.cameras import CameraSpec, CameraState, CameraStatus
from pipeline.network import urls
from tests.cache_store.test_checkpoint import FACTS
from tests.chaos.history import Event, History
from tests.virtual_time import now_s

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)
CHECKPOINT_EVERY_S = 3.0
SLOTS = 6
_FRAME_EVERY_S = 0.5
_STORE_TIMEOUT_S = 1.0
_CALL_TIMEOUT_S = 5.0

T = TypeVar("T")


class Store:
    """The store and the way to it: it can be away, slow, forgetful, and its clock can step."""

    def __init__(self, rng: random.Random, history: History) -> None:
        self.leases = InMemoryLeases(clock=lambda: now_s() + self.clock_step_s)
        self.checkpoints = InMemoryCheckpointStore(self.leases)
        self.registry = InMemoryRegistry()
        self.history = history
        self.is_away = False
        self.slowness_s = 0.002
        self.clock_step_s = 0.0
        self._rng = rng
        self._late: set[asyncio.Task[object]] = set()

    def forget_everything(self) -> None:
        """As a server that comes back without its file."""
        self.leases.forget_everything()
        self.registry.forget_everything()
        self.checkpoints = InMemoryCheckpointStore(self.leases)

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs one operation there, and brings back what came of it, if it does so in time.

        What took too long may still be done, then or later: the caller cannot know.
        """
        if self.is_away:
            await asyncio.sleep(self._rng.uniform(0, 0.1))
            raise StoreUnavailable("store: away")
        running = asyncio.ensure_future(self._done(work))
        self._late.add(running)
        running.add_done_callback(self._late.discard)
        try:
            async with asyncio.timeout(_STORE_TIMEOUT_S):
                return await asyncio.shield(running)
        except TimeoutError:
            running.add_done_callback(lambda task: task.cancelled() or task.exception())
            raise StoreUnavailable("store: no answer in time") from None

    async def _done(self, work: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(self._rng.expovariate(1 / self.slowness_s))
        result = await work()
        await asyncio.sleep(self._rng.expovariate(1 / self.slowness_s))
        return result


class Process:
    """One life of a shard: it can be killed, or hang for a while and go on as if nothing had been."""

    def __init__(self, name: str, kept_in: Store, on_retired: Callable[[Process], None]) -> None:
        self.incarnation = ShardIncarnation(name)
        self.is_dead = False
        self._store = kept_in
        self._history = kept_in.history
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self.tenure = LeaseHolder(
            _Leases(self),
            self.incarnation,
            LEASE,
            on_lost=self._lose,
            on_retired=lambda: on_retired(self),
            clock=now_s,
        )
        self._saving = Checkpointer(_Devices(self), _Checkpoints(self), CHECKPOINT_EVERY_S, self.tenure, clock=now_s)
        self.watched: dict[str, CameraSpec] = {}
        self.ahead: dict[str, float] = {}
        self.is_draining = False
        self.frames: dict[str, int] = {}
        self._tasks = [asyncio.create_task(self.tenure.run()), asyncio.create_task(self._see())]

    @property
    def is_hung(self) -> bool:
        return not self._goes_on.is_set()

    def kill(self) -> None:
        """As by SIGKILL."""
        self.is_dead = True
        for task in (*self._tasks, *self._saving._tasks.values()):
            task.cancel()

    async def hang(self, for_s: float) -> None:
        """As by SIGSTOP, and later SIGCONT."""
        self._goes_on.clear()
        await asyncio.sleep(for_s)
        self._goes_on.set()

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Lets the process run up to its next word with the store, as far as it runs at all."""
        await self._goes_on.wait()
        result = await self._store.do(work)
        await self._goes_on.wait()
        return result

    async def step(self) -> None:
        """A moment of its own work."""
        await self._goes_on.wait()
        if self.is_dead:
            raise ShardUnavailable("its process is gone")

    async def add(self, assignment: Assignment) -> None:
        name = assignment.spec.name
        if name in self.watched:
            await self.tenure.raise_epoch(name, assignment.min_epoch)
            return
        if assignment.is_standby:
            self.ahead[name] = now_s()
            return
        owner = await self.tenure.acquire(name, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
        self.ahead.pop(name, None)
        try:
            saved = await _Checkpoints(self).load(name, FACTS.fingerprint)
        except StoreError:
            await self.tenure.release(name)
            raise
        await self.step()
        if self.tenure.owner(name) != owner:
            raise ShardUnavailable("lost while it was being restored")
        self.frames[name] = saved.facts.frames_seen if saved else 0
        self.note("restored", name, owner, self.frames[name])
        self.watched[name] = assignment.spec
        self._saving.keep(name)

    async def remove(self, name: str, successor: str | None) -> None:
        if name not in self.watched:
            raise UnknownCamera(name)
        await self._saving.drop(name)
        if not await self._saving.save(name, is_whole=True):
            await self.step()
            self._saving.keep(name)
            raise StoreUnavailable("not saved")
        del self.watched[name]
        await self.tenure.release(name, successor=successor)

    def note(self, kind: str, camera: str, owner: Owner, frames: int = 0) -> None:
        """Adds to the history."""
        self._history.add(Event(now_s(), kind, camera, owner.epoch, owner.incarnation, frames))

    async def _see(self) -> None:
        while True:
            await self.step()
            for camera in self.watched:
                self.frames[camera] += 1
            await asyncio.sleep(_FRAME_EVERY_S)

    async def _lose(self, camera: str) -> None:
        if self.watched.pop(camera, None) is not None:
            await self._saving.drop(camera)


class SimulatedShard:
    """A Shard whose process can be killed and comes back as another, as Ray's do; even while the old one lives on."""

    def __init__(self, number: int, kept_in: Store) -> None:
        self._number = number
        self._store = kept_in
        self._lives = 0
        self.is_unreachable = False
        self.zombies: list[Process] = []
        self.process = self._born()

    def replace_process(self) -> Process:
        """The next life begins; whether the last one has ended is another matter. -> the last one"""
        last = self.process
        self.process = self._born()
        return last

    @property
    def processes(self) -> list[Process]:
        return [process for process in (self.process, *self.zombies) if not process.is_dead]

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        process = self.process
        await self._called(process.step())
        owner = process.tenure.owner(camera)
        if owner is None or camera not in process.watched:
            raise UnknownCamera(camera)
        process.tenure.require(camera, owner)
        known = process.frames[camera]
        yield Started(process.incarnation.id, camera, float(known), epoch=owner.epoch)
        for index in range(3):
            await asyncio.sleep(0.1)
            await process.step()
            process.tenure.require(camera, owner)
            yield Token(str(known), index)
        yield Done(FinishReason.END, str(known), 1, 3, 100.0)

    async def add_camera(self, assignment: Assignment) -> None:
        await self._called(self.process.add(assignment))

    async def remove_camera(self, name: str, *, is_forgotten: bool, successor: str | None = None) -> None:
        await self._called(self.process.remove(name, successor))

    async def status(self) -> ShardStatus:
        process = self.process
        await self._called(process.step())
        found = tuple(self._status(process, name) for name in process.watched)
        return ShardStatus(
            pid=self._lives,
            incarnation=process.incarnation.id,
            cameras=found,
            standby=dict(process.ahead),
            slots=SLOTS,
            is_draining=process.is_draining,
        )

    async def drain(self) -> None:
        self.process.is_draining = True

    def _born(self) -> Process:
        self._lives += 1
        return Process(f"{self._number}.{self._lives}", self._store, self._retire)

    def _retire(self, process: Process) -> None:
        """It ends itself, and Ray starts another."""
        process.kill()
        if process is self.process:
            self.process = self._born()

    async def _called(self, work: Coroutine[None, None, T]) -> T:
        if self.is_unreachable:
            work.close()
            await asyncio.sleep(0.1)
            raise ShardUnavailable("nobody reaches it")
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return await work
        except TimeoutError:
            raise ShardUnavailable("no answer in time") from None

    def _status(self, process: Process, name: str) -> CameraStatus:
        owner = process.tenure.owner(name)
        return CameraStatus(
            name=name,
            url=urls.redact(process.watched[name].url),
            state=CameraState.LIVE,
            epoch=owner.epoch if owner else 0,
        )


def simulated_fleet(shards: Sequence[SimulatedShard], kept_in: Store) -> tuple[Fleet, LeaderElection]:
    """One of the fleets of this world, with its bid to supervise."""
    leases = _Leases(kept_in)
    owners = FailureDetector(leases, LEASE.length_s, clock=now_s)
    bid = LeaderElection(leases, owners, LEASE, clock=now_s)
    return Fleet(shards, owners, _Registry(kept_in), is_leader=bid.is_leader), bid


class _Leases:
    """The store's leases, as a process or the fleet reaches them."""

    def __init__(self, caller: Process | Store) -> None:
        self._caller = caller
        self._store = caller._store if isinstance(caller, Process) else caller

    async def renew(self, incarnation: ShardIncarnation) -> int:
        return await self._caller.do(lambda: self._store.leases.renew(incarnation))

    async def acquire(self, camera: str, incarnation: str, *, floor: int = 0, gone: LeaseExpiry | None = None) -> Owner:
        async def acquire() -> Owner:
            owner = await self._store.leases.acquire(camera, incarnation, floor=floor, gone=gone)
            if camera != LEADER_ROLE:
                self._store.history.add(Event(now_s(), "owned", camera, owner.epoch, owner.incarnation))
            return owner

        return await self._caller.do(acquire)

    async def owner(self, camera: str) -> Owner | None:
        return await self._caller.do(lambda: self._store.leases.owner(camera))

    async def lease(self, incarnation: str) -> Lease | None:
        return await self._caller.do(lambda: self._store.leases.lease(incarnation))

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        await self._caller.do(lambda: self._store.leases.release(camera, owner, successor=successor))

    async def retire(self, incarnation: str) -> None:
        await self._caller.do(lambda: self._store.leases.retire(incarnation))


class _Registry:
    """The store's registry, as a fleet reaches it."""

    def __init__(self, kept_in: Store) -> None:
        self._store = kept_in

    async def add(self, *entries: RegistryEntry) -> None:
        await self._store.do(lambda: self._store.registry.add(*entries))

    async def remove(self, name: str) -> None:
        await self._store.do(lambda: self._store.registry.remove(name))

    async def snapshot_since(self, version: str | None) -> RegistrySnapshot | None:
        return await self._store.do(lambda: self._store.registry.snapshot_since(version))


class _Checkpoints:
    """The store's checkpoints, as a process reaches them."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._store = process._store

    async def ping(self) -> None:
        """Not asked here."""

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        async def save() -> None:
            await self._store.checkpoints.save(camera, saved, owner)
            self._process.note("commit", camera, owner, saved.facts.frames_seen)

        await self._process.do(save)

    async def load(self, camera: str, fingerprint: str) -> Checkpoint | None:
        return await self._process.do(lambda: self._store.checkpoints.load(camera, fingerprint))

    async def delete(self, camera: str) -> None:
        await self._process.do(lambda: self._store.checkpoints.delete(camera))

    async def close(self) -> None:
        """Nothing to let go of."""


class _Devices:
    """Memories that know nothing but how many frames they saw."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        taken: futures.Future[Checkpoint] = futures.Future()
        taken.set_result(Checkpoint(dataclasses.replace(FACTS, frames_seen=self._process.frames[camera]), (), {}))
        return taken
