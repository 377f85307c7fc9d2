"""The cameras of one device, as one shard: answers, status and shutdown. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

import structlog

from actors.config.schema import ShardSettings
from actors.errors import InvalidShard, OwnershipUnproven
from actors.ownership import failure_detector
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.admission import Admission
from actors.shard.answer_context import AnswerContext
from actors.shard.answer_stream import events_of
from actors.shard.camera_lifecycle import CameraLifecycle
from actors.shard.camera_memories import CameraMemories
from actors.shard.camera_statuses import UNOWNED, CameraStatuses
from actors.shard.camera_streams import CameraStreams
from actors.shard.checkpointer import Checkpointer
from actors.shard.departure import Departure, depart
from actors.shard.error_names import named
from actors.shard.interface import Assignment, ShardStatus
from actors.shard.question_counter import QuestionCounter
from actors.shard.rate_limit import RateLimit
from actors.shard.shard_counts import ShardCounts
from actors.shard.shard_device import ShardDevice
from actors.shard.url_tests import UrlTests
from actors.tracing.tracer import NoTracer, Tracer
from cache_store.leases import Leases, ShardIncarnation
from cache_store.store import CheckpointStore
from pipeline.answers import ANYBODY, AnswerEvent, Caller, UnknownCamera
from pipeline.boot_clock import boot_time_s
from pipeline.cameras import CameraStatus
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.sources.probe import ProbeResult

log = structlog.get_logger(__name__)


class CameraShard:
    """A Shard in this process; owns the engine, the streams and the checkpoints.

    on_retired: called once when the shard's lease is revoked; the shard can own no camera after that.
    """

    def __init__(
        self,
        device: ShardDevice,
        settings: ShardSettings,
        checkpoints: CheckpointStore,
        leases: Leases,
        *,
        on_retired: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        boot_clock: Callable[[], float] = boot_time_s,
        tracer: Tracer | None = None,
    ) -> None:
        self._ingest, self._store = settings.ingest, checkpoints
        self._url_tests, self._tracer = UrlTests(self._ingest.for_tests()), tracer or NoTracer()
        self._slots, self._grace_s = settings.shards.device.max_cameras, settings.shards.grace_s
        self._device, self._engine = device, device.engine
        self._incarnation = ShardIncarnation(uuid.uuid4().hex, failure_detector.current_process())
        self._lease_holder = LeaseHolder(
            leases,
            self._incarnation,
            settings.shards.lease,
            on_lost=lambda camera_id: self._lifecycle.on_lost(camera_id),
            on_retired=on_retired,
            clock=boot_clock,
        )
        self._checkpointer = Checkpointer(
            self._engine,
            checkpoints,
            settings.shards.checkpoint_every_s,
            self._lease_holder,
            clock=clock,
            rate_limit=RateLimit(settings.shards.checkpoint_max_mb_per_s),
            rows=settings.shards.checkpoint_rows,
        )
        self._streams = CameraStreams(self._engine.clips, self._ingest, device.open_feed, clock=clock)
        self._admission = Admission(
            settings.shards.device, self._ingest.sample_fps, self._streams, self._engine.measure_ingest()
        )
        self._memories = CameraMemories(self._engine, checkpoints, self._checkpointer, device.fingerprints, clock=clock)
        self._lifecycle = CameraLifecycle(
            self._streams,
            self._memories,
            self._lease_holder,
            require_slot=self._require_slot,
            require_time=self._admission.require_time,
        )
        self.log_fields = self._lifecycle.log_fields
        self._statuses = CameraStatuses(self._memories, self._lease_holder, self._streams, device)
        self._is_draining = self._is_leaving = False
        self._questions = QuestionCounter()
        self._engine.start()

    @property
    def is_working(self) -> bool:
        """False once the engine has stopped, because the shard was closed or because of an unexpected error."""
        return self._engine.is_running

    async def ask(
        self,
        camera_id: str,
        question: str,
        *,
        max_answer_tokens: int | None = None,
        caller: Caller = ANYBODY,
        trace: str = "",
    ) -> AsyncGenerator[AnswerEvent, None]:
        current = partial(self._streams.owned.get, camera_id)
        owner, stream = self._lease_holder.owner(camera_id), current()
        if stream is not None and self._lease_holder.is_unowned(camera_id):
            raise OwnershipUnproven(f"camera {stream.spec.name!r}: {UNOWNED}; try again")
        if owner is None or stream is None:
            raise UnknownCamera(f"camera {camera_id!r} is not on this shard")
        context = AnswerContext(stream, owner.epoch, current, self._statuses.limitation)
        with named(camera_id, stream.spec.name):
            left = caller.after(await context.await_frames(lambda: self._memories.status(camera_id).newest_s))
            submit = partial(self._engine.ask, camera_id, question, max_answer_tokens=max_answer_tokens, caller=left)
            # Fences every event: an owner that lost the camera must not finish an answer that it began.
            answer = events_of(submit, lambda: self._lease_holder.require(camera_id, owner))
            attributes = {"hermes.camera": stream.spec.name, "hermes.epoch": str(owner.epoch)}
            tracer = self._tracer if trace else NoTracer()
            with (
                tracer.span("hermes.shard", parent=trace, attributes=attributes) as span,
                self._questions.question(span) as observe,
            ):
                async with aclosing(answer) as events:
                    async for event in events:
                        observe(event)
                        yield context.identified(event)

    async def add_camera(self, assignment: Assignment) -> None:
        is_new = assignment.id not in self._streams.owned
        with named(assignment.id, assignment.spec.name):
            await self._lifecycle.add(assignment)
        stream = self._streams.owned.get(assignment.id)
        if is_new and stream is not None and (limitation := self._statuses.limitation(stream)):
            log.warning("model_limited", camera=stream.spec.name, reason=limitation)

    async def update_camera(self, assignment: Assignment) -> None:
        with named(assignment.id, assignment.spec.name):
            await self._lifecycle.update(assignment)

    async def release_camera(self, camera_id: str, *, successor: str | None = None) -> None:
        self._count(self._cameras())  # what it has done until now
        with named(camera_id, self._name_of(camera_id)):
            await self._lifecycle.release(camera_id, successor=successor)

    async def drop_camera(self, camera_id: str) -> None:
        await self._lifecycle.drop(camera_id)

    async def erase_memory(self, camera_id: str) -> None:
        with named(camera_id, self._name_of(camera_id)):
            await self._lifecycle.erase(camera_id)

    async def test_camera(self, url: str, tls: TlsRules = USUAL_RULES) -> ProbeResult:
        return await self._url_tests.run(url, tls)

    async def status(self) -> ShardStatus:
        cameras = self._cameras()
        counts = self._count(cameras)
        load = self._admission.note(counts.frames)
        self._streams.limit_rates(load.keeps)
        return ShardStatus(
            pid=os.getpid(),
            node=socket.gethostname(),
            incarnation=self._incarnation.id,
            cameras=cameras,
            standby=self._streams.standby_since_s(),
            slots=self._slots,
            busy_share=self._engine.busy_share,
            ingest_share=load.share,
            max_ingest_share=load.limit,
            is_draining=self._is_draining,
            is_leaving=self._is_leaving,
            counts=counts,
            fingerprints=self._device.fingerprints,
            clock_s=self._streams.clock(),
        )

    def _cameras(self) -> tuple[CameraStatus, ...]:
        return tuple(map(self._statuses.status, self._streams.owned.values()))

    def _count(self, cameras: Sequence[CameraStatus]) -> ShardCounts:
        for camera in cameras:
            self._memories.frames.add(camera.id, camera.state, camera.memory)
        return ShardCounts(
            frames=self._memories.frames.counts(),
            questions=self._questions.counts(),
            checkpoints=dict(self._checkpointer.results),
            restores=dict(self._memories.restores),
            cameras_lost=self._lifecycle.cameras_lost,
        )

    async def drain(self) -> None:
        if not self._is_draining:
            log.info("shard_draining", cameras=len(self._streams.owned))
        self._is_draining = True

    async def undrain(self) -> None:
        if self._is_leaving:
            raise InvalidShard("this shard was told to end, and gives its cameras up")
        if self._is_draining:
            log.info("shard_undrained", cameras=len(self._streams.owned))
        self._is_draining = False

    async def leave(self, grace_s: float, *, may_move: bool) -> Departure:
        """Takes no cameras any more, and gives up those that it has, within a grace period; see `depart`."""
        self._is_leaving = self._is_draining = True
        return await depart(self._streams, self._lifecycle, self._questions, grace_s, may_move=may_move)

    async def close(self) -> None:
        """Saves every memory whole, releases every camera and stops the engine. Answers that run may end meanwhile."""
        self._is_draining = True
        await self._streams.stop_all()
        await asyncio.gather(self._checkpointer.save_all(self._grace_s), self._questions.until_idle(self._grace_s))
        await self._lifecycle.release_all()
        await asyncio.to_thread(self._device.close)
        await self._store.close()

    def _name_of(self, camera_id: str) -> str:
        stream = self._streams.owned.get(camera_id)
        return stream.spec.name if stream else camera_id

    def _require_slot(self, assignment: Assignment) -> None:
        name = assignment.spec.name
        if self._is_draining:
            raise InvalidShard(f"camera {name!r}: this shard is draining and takes no new cameras")
        self._admission.require_slot(assignment)
