"""The cameras of one device: their feeds, memories and checkpoints. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from actors import checkpointing, config, succession, tenure
from cache_store import checkpoint, leases, store
from models import vlm
from pipeline import answers, cameras, device, feed, urls

log = structlog.get_logger(__name__)

_ANSWER_STEP_TIMEOUT_S = 60.0
_CLOSING_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A camera that a shard shall watch. `started_s`: second 0 of a file, in Unix seconds; it outlives the shard.

    floor: an epoch that its next owner must be above; gone: which earlier owner that one may follow.
    """

    spec: cameras.CameraSpec
    started_s: float
    floor: int = 0
    gone: leases.Gone | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """A shard's process, as which owner it owns cameras, and the cameras that it holds."""

    pid: int
    incarnation: str
    cameras: tuple[cameras.CameraStatus, ...]


class Shard(Protocol):
    """Where cameras live: a CameraShard, or a RemoteShard that stands for one in another process."""

    def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[answers.AnswerEvent, None]:
        """The events of one answer, Done last. Raises QuestionError, OwnershipUnproven. Closing it stops the answer."""
        ...

    async def add_camera(self, assignment: Assignment) -> None:
        """Watches a camera, its memory restored if there is a checkpoint; nothing happens if it does so already.

        If it does so in an epoch that is not above the assignment's floor, it does from now on.

        Raises CameraExists for another spec under the same name, TooManyCameras, InvalidCamera, StoreUnavailable,
        and OwnedByAnother while another shard may still speak for it.
        """
        ...

    async def remove_camera(self, name: str, *, is_forgotten: bool) -> None:
        """Stops the camera. Its checkpoints are deleted if it is to be forgotten, else its memory is saved whole first.

        Raises UnknownCamera, StoreUnavailable; then it goes on.
        """
        ...

    async def status(self) -> ShardStatus:
        """How the shard and its cameras are doing."""
        ...

    async def close(self) -> None:
        """Saves every memory once more, gives up every camera and stops."""
        ...


class CameraShard:
    """A Shard in this process; owns device, feeds and checkpoints."""

    def __init__(
        self,
        model: vlm.VideoLanguageModel,
        settings: config.HermesConfig,
        checkpoints: store.CheckpointStore,
        granted_by: leases.Leases,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._ingest = settings.ingest
        self._store = checkpoints
        self._clock = clock
        self._device = device.Device(model, settings.memory, settings.shards.device, clock=clock)
        self._incarnation = leases.Incarnation(uuid.uuid4().hex, succession.home())
        self._tenure = tenure.Tenure(granted_by, self._incarnation, settings.shards.lease, on_lost=self._lose)
        self._saving = checkpointing.Checkpointing(
            self._device, checkpoints, settings.shards.checkpoint_every_s, self._tenure, clock=clock
        )
        self._watched: dict[str, _Watched] = {}
        self._changing = asyncio.Lock()
        self._device.start()
        self._renewing: asyncio.Task[None] | None = None

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[answers.AnswerEvent, None]:
        owner = self._tenure.owner(camera)
        if owner is None:
            raise answers.UnknownCamera(f"camera {camera!r}: not on this shard")
        inbox = _Inbox(asyncio.get_running_loop())
        ticket = self._device.ask(camera, question, inbox.deliver, max_answer_tokens=max_answer_tokens)
        try:
            self._tenure.require(camera, owner)
            while True:
                event = await inbox.next()
                self._tenure.require(camera, owner)
                yield dataclasses.replace(event, epoch=owner.epoch) if isinstance(event, answers.Started) else event
                if isinstance(event, answers.Done):
                    return
        finally:
            ticket.cancel()

    async def add_camera(self, assignment: Assignment) -> None:
        spec = assignment.spec
        async with self._changing:
            held = self._watched.get(spec.name)
            if held is not None and held.spec == spec:
                await self._tenure.rise(spec.name, assignment.floor)
                return
            if held is not None:
                raise cameras.CameraExists(f"camera {spec.name!r} exists, with another URL, pace or gate")
            urls.parse(spec.url)
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._tenure.run(), name="renewals of the lease")
            # First of all: whatever is loaded after this, nobody else can replace.
            await self._tenure.acquire(spec.name, floor=assignment.floor, gone=assignment.gone)
            try:
                saved = await self._begin_memory(assignment)
            except (cameras.CameraError, checkpoint.StoreError):
                await self._tenure.release(spec.name)
                raise
            self._watch(assignment, saved)

    async def remove_camera(self, name: str, *, is_forgotten: bool) -> None:
        async with self._changing:
            held = self._watched.get(name)
            if held is None:
                raise answers.UnknownCamera(f"camera {name!r} is not here")
            await self._saving.drop(name)
            await (self._forget(name) if is_forgotten else self._save_whole(name))
            await self._unwatch(name)
            await self._tenure.release(name)
        log.info("camera_removed", camera=name, is_forgotten=is_forgotten)

    @property
    def is_working(self) -> bool:
        """False once the device has stopped, on purpose or by an error that nobody foresaw."""
        return self._device.is_running

    async def status(self) -> ShardStatus:
        found = tuple(self._status(held) for held in self._watched.values())
        return ShardStatus(pid=os.getpid(), incarnation=self._incarnation.id, cameras=found)

    async def close(self) -> None:
        async with self._changing:
            stops = [asyncio.to_thread(held.feed.stop) for held in self._watched.values()]
            await asyncio.gather(*stops)
            await self._saving.save_all(_CLOSING_TIMEOUT_S)
            if self._renewing is not None:
                self._renewing.cancel()
                await asyncio.wait([self._renewing])
            await self._tenure.release_all()
            self._watched.clear()
            await asyncio.to_thread(self._device.close)
            await self._store.close()

    async def _unwatch(self, name: str) -> None:
        held = self._watched.pop(name)
        await asyncio.to_thread(held.feed.stop)
        await asyncio.to_thread(self._device.remove_camera, name)

    async def _lose(self, name: str) -> None:
        """Another shard owns the camera by now: nothing of it is said or saved here any more."""
        async with self._changing:
            if name in self._watched and self._tenure.owner(name) is None:
                await self._saving.drop(name)
                await self._unwatch(name)
                log.warning("camera_lost_to_another_shard", camera=name)

    async def _forget(self, name: str) -> None:
        """Deletes the camera's checkpoints; if the store will not, the camera goes on as if nothing had been asked."""
        try:
            await self._store.delete(name)
        except checkpoint.StoreError:
            self._saving.keep(name)
            raise

    async def _save_whole(self, name: str) -> None:
        """Saves all tiers, so that whoever watches the camera next goes on where this shard stopped."""
        if not self._device.status(name).frames_seen or await self._saving.save(name, is_whole=True):
            return
        self._saving.keep(name)
        raise checkpoint.StoreUnavailable(f"camera {name!r}: its memory could not be saved, so it stays where it is")

    async def _begin_memory(self, assignment: Assignment) -> checkpoint.Checkpoint | None:
        """Gives the camera a slot on the device, with its checkpoint if there is one that this model can read.

        Where there are some, and none can be read, what they held is declared as a gap.
        """
        name, started_s, is_gated = assignment.spec.name, assignment.started_s, assignment.spec.gate
        try:
            saved = await self._store.load(name, self._model.spec.fingerprint)
            await asyncio.to_thread(self._device.add_camera, name, saved, started_s=started_s, is_gated=is_gated)
        except checkpoint.CheckpointCorrupt as error:
            log.error("checkpoint_unreadable", camera=name, reason=str(error))
            lost = checkpoint.Gap(started_s, max(started_s, self._clock()), "its checkpoints could not be read")
            await asyncio.to_thread(self._device.add_camera, name, started_s=started_s, lost=lost, is_gated=is_gated)
            return None
        return saved

    def _watch(self, assignment: Assignment, saved: checkpoint.Checkpoint | None) -> None:
        spec, loop = assignment.spec, asyncio.get_running_loop()

        def on_state(state: cameras.CameraState, detail: str) -> None:
            loop.call_soon_threadsafe(self._enter, spec.name, state, detail)

        camera_feed = feed.CameraFeed(
            spec,
            self._ingest,
            self._model.spec.frame_size,
            self._device.clips,
            on_state=on_state,
            resume_from_s=saved.facts.newest_s if saved else None,
            started_s=saved.facts.started_s if saved else assignment.started_s,
        )
        self._watched[spec.name] = _Watched(spec, camera_feed)
        self._saving.keep(spec.name)
        camera_feed.start()
        log.info("camera_added", camera=spec.name, url=urls.redacted(spec.url), is_restored=saved is not None)

    def _enter(self, name: str, state: cameras.CameraState, detail: str) -> None:
        watched = self._watched.get(name)
        if watched is not None:
            watched.state, watched.detail = state, detail

    def _status(self, watched: _Watched) -> cameras.CameraStatus:
        memory = self._device.status(watched.spec.name)
        saved_s = self._saving.saved_s(watched.spec.name) or memory.checkpointed_s
        return cameras.CameraStatus(
            name=watched.spec.name,
            url=urls.redacted(watched.spec.url),
            state=watched.state,
            detail=watched.detail,
            memory=dataclasses.replace(memory, checkpointed_s=saved_s),
            epoch=owner.epoch if (owner := self._tenure.owner(watched.spec.name)) else 0,
        )


@dataclass(slots=True)
class _Watched:
    """A camera of this shard, with what its feed last said of it."""

    spec: cameras.CameraSpec
    feed: feed.CameraFeed
    state: cameras.CameraState = cameras.CameraState.CONNECTING
    detail: str = ""


class _Inbox:
    """The events of one answer, from the device thread to the event loop. An answer's token limit is its bound."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: asyncio.Queue[answers.AnswerEvent | answers.QuestionError] = asyncio.Queue()

    def deliver(self, event: answers.AnswerEvent | answers.QuestionError) -> None:
        """Takes an event from any thread; does not block."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self) -> answers.AnswerEvent:
        """The next event. Raises the QuestionError that ended the answer, AnswerFailed if nothing comes for long."""
        try:
            event = await asyncio.wait_for(self._events.get(), _ANSWER_STEP_TIMEOUT_S)
        except TimeoutError:
            raise answers.AnswerFailed(f"no word from the device for {_ANSWER_STEP_TIMEOUT_S:.0f} s") from None
        if isinstance(event, answers.QuestionError):
            raise event
        return event
