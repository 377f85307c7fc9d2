"""A fleet in virtual time: the real fleet over simulated shards, whose processes can be replaced at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar

from actors.errors import ShardUnavailable
from actors.fleet.fleet import Fleet
from actors.fleet.removal import MemoryEraser
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from actors.shard.camera_lifecycle import CameraLifecycle
from actors.shard.interface import Assignment, ShardStatus
from pipeline.answers import AnswerEvent, Done, FinishReason, Started, Token, UnknownCamera
from pipeline.cameras import CameraState, CameraStatus
from pipeline.network import urls
from tests.chaos.simulated_process import LEASE, SLOTS, Process
from tests.chaos.simulated_store import SimulatedStore, StoreCheckpoints, StoreLeases, StoreRegistry
from tests.virtual_time import now_s

_CALL_TIMEOUT_S = 5.0

T = TypeVar("T")


class SimulatedShard:
    """A Shard whose process can be replaced, as Ray replaces one; even while the old process lives on."""

    def __init__(self, number: int, store: SimulatedStore) -> None:
        self._number = number
        self._store = store
        self._starts = 0
        self.is_unreachable = False
        self.zombies: list[Process] = []
        self.process = self._start_process()

    def replace_process(self) -> Process:
        """Starts the next process, whether or not the last one has ended. -> the last one"""
        last = self.process
        self.process = self._start_process()
        return last

    @property
    def processes(self) -> list[Process]:
        return [process for process in (self.process, *self.zombies) if not process.is_dead]

    async def ask(
        self, camera_id: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        process = self.process
        await self._call(process.step())
        owner = process.lease_holder.owner(camera_id)
        if owner is None or camera_id not in process.streams:
            raise UnknownCamera(camera_id)
        process.lease_holder.require(camera_id, owner)
        name, frames = process.streams[camera_id].spec.name, process.memory(camera_id).frames_seen
        yield Started(process.incarnation.id, name, float(frames), epoch=owner.epoch, camera_id=camera_id)
        for index in range(3):
            await asyncio.sleep(0.1)
            await process.step()
            process.lease_holder.require(camera_id, owner)
            yield Token(str(frames), index)
        yield Done(FinishReason.END, str(frames), 1, 3, 100.0)

    async def add_camera(self, assignment: Assignment) -> None:
        await self._run(lambda lifecycle: lifecycle.add(assignment))

    async def update_camera(self, assignment: Assignment) -> None:
        await self._run(lambda lifecycle: lifecycle.update(assignment))

    async def remove_camera(self, camera_id: str, *, successor: str | None = None) -> None:
        await self._run(lambda lifecycle: lifecycle.remove(camera_id, successor=successor))

    async def drop_camera(self, camera_id: str) -> None:
        await self._run(lambda lifecycle: lifecycle.drop(camera_id))

    async def erase_memory(self, camera_id: str) -> None:
        await self._run(lambda lifecycle: lifecycle.erase(camera_id))

    async def status(self) -> ShardStatus:
        process = self.process
        await self._call(process.step())
        return ShardStatus(
            pid=self._starts,
            incarnation=process.incarnation.id,
            cameras=tuple(self._status(process, camera_id) for camera_id in process.streams),
            standby=dict(process.standby),
            slots=SLOTS,
            is_draining=process.is_draining,
        )

    async def drain(self) -> None:
        self.process.is_draining = True

    async def undrain(self) -> None:
        self.process.is_draining = False

    def _start_process(self) -> Process:
        self._starts += 1
        return Process(f"{self._number}.{self._starts}", self._store, self._on_retired)

    def _on_retired(self, process: Process) -> None:
        """A process whose lease is revoked ends itself, and Ray starts another."""
        process.kill()
        if process is self.process:
            self.process = self._start_process()

    async def _run(self, operation: Callable[[CameraLifecycle], Awaitable[None]]) -> None:
        process = self.process
        await self._call(process.run(operation))

    async def _call(self, work: Coroutine[None, None, T]) -> T:
        if self.is_unreachable:
            work.close()
            await asyncio.sleep(0.1)
            raise ShardUnavailable("unreachable")
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return await work
        except TimeoutError:
            raise ShardUnavailable("no answer in time") from None

    def _status(self, process: Process, camera_id: str) -> CameraStatus:
        owner = process.lease_holder.owner(camera_id)
        assignment = process.streams[camera_id].assignment
        return CameraStatus(
            id=camera_id,
            name=assignment.spec.name,
            url=urls.redact(assignment.spec.url),
            state=CameraState.RECOVERING if process.lease_holder.is_unowned(camera_id) else CameraState.LIVE,
            revision=assignment.revision,
            memory=process.memory(camera_id),
            epoch=owner.epoch if owner else 0,
        )


def simulated_fleet(shards: Sequence[SimulatedShard], store: SimulatedStore) -> tuple[Fleet, LeaderElection]:
    """One of the fleets over these shards, with its candidacy for leadership."""
    leases = StoreLeases(store, store)
    failure_detector = FailureDetector(leases, LEASE.length_s, clock=now_s)
    election = LeaderElection(leases, failure_detector, LEASE, clock=now_s)
    eraser = MemoryEraser(leases.fence, StoreCheckpoints(store, store).delete)
    fleet = Fleet(shards, failure_detector, StoreRegistry(store), eraser, is_leader=election.is_leader)
    return fleet, election
