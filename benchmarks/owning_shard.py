"""A shard for benchmarks of the control plane: it owns its cameras in the store, and opens no stream."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from actors.config.shards import LeaseConfig
from actors.errors import ShardUnavailable
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.interface import Assignment, ShardStatus
from cache_store.leases import Leases, ShardIncarnation
from pipeline.answers import AnswerEvent, Done, FinishReason, Started, UnknownCamera
from pipeline.cameras import CameraState, CameraStatus, TooManyCameras
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.network.url_redaction import redact
from pipeline.sources.probe import ProbeResult

LEASE = LeaseConfig()


class OwningShard:
    """A Shard that owns its cameras in the store, and opens no stream."""

    def __init__(self, leases: Leases, slots: int) -> None:
        self._incarnation = ShardIncarnation(uuid.uuid4().hex)
        self._lease_holder = LeaseHolder(leases, self._incarnation, LEASE, on_lost=self._on_lost)
        self._slots = slots
        self._is_dead = False
        self.assignments: dict[str, Assignment] = {}
        self._renewals = asyncio.create_task(self._lease_holder.run())

    def kill(self) -> None:
        """Stops renewing the lease and answering."""
        self._is_dead = True
        self._renewals.cancel()

    async def ask(
        self, camera_id: str, question: str, *, max_answer_tokens: int | None = None, **_: Any
    ) -> AsyncGenerator[AnswerEvent, None]:
        self._require_alive()
        owner = self._lease_holder.owner(camera_id)
        if owner is None:
            raise UnknownCamera(camera_id)
        self._lease_holder.require(camera_id, owner)
        yield Started("1", camera_id, time.time(), epoch=owner.epoch)
        yield Done(FinishReason.END, "", 1, 0, 0.0)

    async def add_camera(self, assignment: Assignment) -> None:
        self._require_alive()
        camera_id = assignment.id
        if camera_id in self.assignments:
            await self._lease_holder.raise_epoch(camera_id, assignment.min_epoch)
            return
        if len(self.assignments) >= self._slots:
            raise TooManyCameras(f"camera {assignment.spec.name!r}: all {self._slots} slots are taken")
        await self._lease_holder.acquire(camera_id, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
        self.assignments[camera_id] = assignment

    async def update_camera(self, assignment: Assignment) -> None:
        self.assignments[assignment.id] = assignment

    async def release_camera(self, camera_id: str, *, successor: str | None = None) -> None:
        self._require_alive()
        if self.assignments.pop(camera_id, None) is None:
            raise UnknownCamera(camera_id)
        await self._lease_holder.release(camera_id, successor=successor)

    async def drop_camera(self, camera_id: str) -> None:
        self._require_alive()
        self.assignments.pop(camera_id, None)
        await self._lease_holder.release(camera_id)

    async def erase_memory(self, camera_id: str) -> None:
        """There is no memory."""

    async def status(self) -> ShardStatus:
        self._require_alive()
        return ShardStatus(
            pid=os.getpid(),
            incarnation=self._incarnation.id,
            cameras=tuple(itertools.starmap(self._status, self.assignments.items())),
            slots=self._slots,
        )

    async def drain(self) -> None:
        """Never called here."""

    async def undrain(self) -> None:
        """Never called here."""

    async def test_camera(self, url: str, tls: TlsRules = USUAL_RULES) -> ProbeResult:
        raise ShardUnavailable("a simulated shard opens no URL")

    def _status(self, camera_id: str, assignment: Assignment) -> CameraStatus:
        owner = self._lease_holder.owner(camera_id)
        return CameraStatus(
            id=camera_id,
            name=assignment.spec.name,
            url=redact(assignment.spec.url),
            state=CameraState.LIVE,
            epoch=owner.epoch if owner else 0,
            revision=assignment.revision,
        )

    def _require_alive(self) -> None:
        if self._is_dead:
            raise ShardUnavailable("its process has ended")

    async def _on_lost(self, camera: str) -> None:
        self.assignments.pop(camera, None)
