"""The cameras of one device: their feeds, memories and checkpoints. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass

import structlog

from actors import task_cancellation
from actors.config.schema import HermesConfig
from actors.errors import InvalidShard
from actors.ownership import failure_detector
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.answer_stream import AnswerStream
from actors.shard.checkpointer import Checkpointer
from actors.shard.interface import Assignment, ShardStatus
from actors.shard.rate_limit import RateLimit
from cache_store.checkpoint import Checkpoint, CheckpointCorrupt, Gap, StoreError, StoreUnavailable
from cache_store.leases import Leases, ShardIncarnation
from cache_store.store import CheckpointStore
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import AnswerEvent, Done, Started, UnknownCamera
from pipeline.cameras import (
    CameraError,
    CameraExists,
    CameraSpec,
    CameraState,
    CameraStatus,
    SourceReason,
    TooManyCameras,
    TooManyTests,
)
from pipeline.device.engine import Engine
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.sources import probe
from pipeline.sources.feed import CameraFeed
from pipeline.sources.probe import ProbeResult

log = structlog.get_logger(__name__)

_CLOSING_TIMEOUT_S = 5.0
_MAX_TESTS = 2
_LONGEST_AHEAD_S = 30.0


class CameraShard:
    """A Shard in this process; owns device, feeds and checkpoints. `on_retired`: its lease is renewed no more."""

    def __init__(
        self,
        model: VideoLanguageModel,
        settings: HermesConfig,
        checkpoints: CheckpointStore,
        leases: Leases,
        *,
        on_retired: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._ingest = settings.sources
        self._testing = 0
        self._slots = settings.shards.device.max_cameras
        self._store = checkpoints
        self._clock = clock
        self._engine = Engine(model, settings.memory, settings.shards.device, clock=clock)
        self._incarnation = ShardIncarnation(uuid.uuid4().hex, failure_detector.current_process())
        self._tenure = LeaseHolder(
            leases, self._incarnation, settings.shards.lease, on_lost=self._lose, on_retired=on_retired
        )
        self._saving = Checkpointer(
            self._engine,
            checkpoints,
            settings.shards.checkpoint_every_s,
            self._tenure,
            clock=clock,
            pace=RateLimit(settings.shards.checkpoint_max_mb_per_s),
            rows=settings.shards.checkpoint_rows,
        )
        self._watched: dict[str, _Watched] = {}
        self._ahead: dict[str, _Watched] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._is_draining = False
        self._background: set[asyncio.Task[None]] = set()
        self._engine.start()
        self._renewing: asyncio.Task[None] | None = None

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        owner = self._tenure.owner(camera)
        if owner is None or camera not in self._watched:
            raise UnknownCamera(f"camera {camera!r}: not on this shard")
        waiting = AnswerStream(asyncio.get_running_loop())
        ticket = self._engine.ask(camera, question, waiting.deliver, max_answer_tokens=max_answer_tokens)
        try:
            self._tenure.require(camera, owner)
            while True:
                event = await waiting.next()
                self._tenure.require(camera, owner)
                yield dataclasses.replace(event, epoch=owner.epoch) if isinstance(event, Started) else event
                if isinstance(event, Done):
                    return
        finally:
            ticket.cancel()

    async def add_camera(self, assignment: Assignment) -> None:
        spec = assignment.spec
        REDACTOR.remember(spec.url)
        async with self._changing[spec.name]:
            await self._let_go_if_lost(spec.name)
            held = self._watched.get(spec.name)
            if held is not None and held.spec == spec:
                await self._tenure.raise_epoch(spec.name, assignment.min_epoch)
                return
            if held is not None:
                raise CameraExists(f"camera {spec.name!r} exists, with another URL, pace, masks or gate")
            urls.parse(spec.url)
            if assignment.is_standby:
                self._get_ahead(assignment)
                return
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._tenure.run(), name="renewals of the lease")
            # First of all: whatever is loaded after this, nobody else can replace.
            await self._tenure.acquire(spec.name, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
            try:
                self._require_room(spec.name)
                saved = await self._begin_memory(assignment)
            except (CameraError, StoreError, InvalidShard):
                await self._tenure.release(spec.name)
                raise
            self._watch(assignment, saved)

    async def remove_camera(self, name: str, *, is_forgotten: bool, successor: str | None = None) -> None:
        async with self._changing[name]:
            self._drop_ahead(name)
            if name not in self._watched:
                raise UnknownCamera(f"camera {name!r} is not here")
            # What comes from now on is for whoever watches it next.
            self._engine.clips.hold_back(name)
            await self._saving.drop(name)
            try:
                await (self._store.delete(name) if is_forgotten else self._save_whole(name))
            except StoreError:
                self._engine.clips.release(name)
                self._saving.keep(name)
                raise
            self._end(self._watched.pop(name))
            await self._tenure.release(name, successor=successor)
            await asyncio.to_thread(self._engine.remove_camera, name)
        log.info("camera_removed", camera=name, is_forgotten=is_forgotten)

    async def drain(self) -> None:
        if not self._is_draining:
            log.info("shard_draining", cameras=len(self._watched))
        self._is_draining = True

    @property
    def is_working(self) -> bool:
        """False once the device has stopped, on purpose or by an error that nobody foresaw."""
        return self._engine.is_running

    async def test_camera(self, url: str) -> ProbeResult:
        REDACTOR.remember(url)
        if self._testing >= _MAX_TESTS:
            raise TooManyTests(f"{self._testing} URLs are being tested on this shard (at most {_MAX_TESTS})")
        self._testing += 1
        try:
            return await asyncio.to_thread(probe.probe_url, url, self._ingest)
        finally:
            self._testing -= 1

    async def status(self) -> ShardStatus:
        return ShardStatus(
            pid=os.getpid(),
            node=socket.gethostname(),
            incarnation=self._incarnation.id,
            cameras=tuple(self._status(held) for held in self._watched.values()),
            standby={name: self._engine.clips.held_back_since_s(name) for name in self._ahead},
            slots=self._slots,
            busy_share=self._engine.busy_share,
            is_draining=self._is_draining,
        )

    async def close(self) -> None:
        """Saves every memory once more, whole, gives up every camera and stops."""
        self._is_draining = True
        feeds = [held.feed for held in (*self._watched.values(), *self._ahead.values())]
        await asyncio.gather(*(asyncio.to_thread(one.stop) for one in feeds))
        await self._saving.save_all(_CLOSING_TIMEOUT_S)
        if self._renewing is not None:
            await task_cancellation.end(self._renewing)
        await self._tenure.release_all()
        self._watched.clear()
        self._ahead.clear()
        for task in self._background:
            task.cancel()
        await asyncio.to_thread(self._engine.close)
        await self._store.close()

    def _require_room(self, name: str) -> None:
        if self._is_draining:
            raise InvalidShard(f"camera {name!r}: this shard takes no more, it is being drained")
        others = len(self._watched.keys() | self._ahead.keys() - {name})
        if others >= self._slots:
            raise TooManyCameras(f"camera {name!r}: all {self._slots} slots are taken")

    def _get_ahead(self, assignment: Assignment) -> None:
        """Opens the camera's stream and keeps its newest clips, for a while, until this shard comes to own it."""
        name = assignment.spec.name
        self._drop_ahead(name)
        self._require_room(name)
        self._engine.clips.hold_back(name)
        self._ahead[name] = self._fed(assignment, None)
        self._later(self._give_up_ahead(name, self._ahead[name]))

    async def _give_up_ahead(self, name: str, ahead: _Watched) -> None:
        await asyncio.sleep(_LONGEST_AHEAD_S)
        async with self._changing[name]:
            if self._ahead.get(name) is ahead:
                self._drop_ahead(name)

    def _drop_ahead(self, name: str) -> None:
        ahead = self._ahead.pop(name, None)
        if ahead is not None:
            self._end(ahead)
            self._engine.clips.remove(name)

    def _end(self, watched: _Watched) -> None:
        """Nothing comes from its feed any more; its thread may take a moment to end."""
        watched.feed.request_stop()
        self._later(asyncio.to_thread(watched.feed.stop))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _lose(self, name: str) -> None:
        # Not now: whoever looked the camera up may be in the middle of adding another.
        self._later(self._lost(name))

    async def _lost(self, name: str) -> None:
        async with self._changing[name]:
            await self._let_go_if_lost(name)

    async def _let_go_if_lost(self, name: str) -> None:
        """Where another shard owns the camera by now, nothing of it is said or saved here any more."""
        if name in self._watched and self._tenure.owner(name) is None:
            await self._saving.drop(name)
            self._end(self._watched.pop(name))
            await asyncio.to_thread(self._engine.remove_camera, name)
            log.warning("camera_lost_to_another_shard", camera=name)

    async def _save_whole(self, name: str) -> None:
        """Saves all tiers, so that whoever watches the camera next goes on where this shard stopped."""
        if not self._engine.status(name).frames_seen or await self._saving.save(name, is_whole=True):
            return
        raise StoreUnavailable(f"camera {name!r}: its memory could not be saved, so it stays where it is")

    async def _begin_memory(self, assignment: Assignment) -> Checkpoint | None:
        """Gives the camera a slot on the device, with its checkpoint if there is one that this model can read.

        Where there are some, and none can be read, what they held is declared as a gap.
        """
        name, started_s, is_gated = assignment.spec.name, assignment.started_s, assignment.spec.gate
        try:
            saved = await self._store.load(name, self._model.spec.fingerprint)
            await asyncio.to_thread(self._engine.add_camera, name, saved, started_s=started_s, is_gated=is_gated)
        except CheckpointCorrupt as error:
            log.error("checkpoint_unreadable", camera=name, reason=str(error))
            lost = Gap(started_s, max(started_s, self._clock()), "its checkpoints could not be read")
            await asyncio.to_thread(self._engine.add_camera, name, started_s=started_s, gap=lost, is_gated=is_gated)
            return None
        return saved

    def _watch(self, assignment: Assignment, saved: Checkpoint | None) -> None:
        spec = assignment.spec
        ahead = self._ahead.pop(spec.name, None)
        if ahead is not None and ahead.spec == spec:
            self._watched[spec.name] = ahead
            # Two connections see one frame at slightly different times.
            seen_s = saved.facts.newest_s + 0.5 / self._ingest.sample_fps if saved else 0.0
            self._engine.clips.release(spec.name, seen_s)
        else:
            self._watched[spec.name] = self._fed(assignment, saved)
        self._saving.keep(spec.name)
        log.info("camera_added", camera=spec.name, url=urls.redact(spec.url), is_restored=saved is not None)

    def _fed(self, assignment: Assignment, saved: Checkpoint | None) -> _Watched:
        """The camera with a feed that runs from now on."""
        spec, loop = assignment.spec, asyncio.get_running_loop()

        def on_state(state: CameraState, detail: str, reason: SourceReason | None) -> None:
            loop.call_soon_threadsafe(watched.enter, state, detail, reason)

        watched = _Watched(
            spec,
            CameraFeed(
                spec,
                self._ingest,
                self._model.spec.frame_size,
                self._engine.clips,
                on_state=on_state,
                resume_from_s=saved.facts.newest_s if saved else None,
                started_s=saved.facts.started_s if saved else assignment.started_s,
            ),
        )
        watched.feed.start()
        return watched

    def _status(self, watched: _Watched) -> CameraStatus:
        memory = self._engine.status(watched.spec.name)
        saved_s = self._saving.saved_s(watched.spec.name) or memory.checkpointed_s
        return CameraStatus(
            name=watched.spec.name,
            url=urls.redact(watched.spec.url),
            state=watched.state,
            detail=watched.detail,
            reason=watched.reason,
            memory=dataclasses.replace(memory, checkpointed_s=saved_s),
            masks=watched.spec.masks,
            epoch=owner.epoch if (owner := self._tenure.owner(watched.spec.name)) else 0,
        )


@dataclass(slots=True)
class _Watched:
    """A camera of this shard, with what its feed last said of it."""

    spec: CameraSpec
    feed: CameraFeed
    state: CameraState = CameraState.CONNECTING
    detail: str = ""
    reason: SourceReason | None = None

    def enter(self, state: CameraState, detail: str, reason: SourceReason | None) -> None:
        """Its feed says so."""
        self.state, self.detail, self.reason = state, detail, reason
