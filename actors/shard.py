"""The cameras of one device: their feeds, memories and checkpoints. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from actors import checkpointing, config
from cache_store import checkpoint, store
from models import vlm
from pipeline import answers, cameras, device, feed, urls

log = structlog.get_logger(__name__)

_ANSWER_STEP_TIMEOUT_S = 60.0
_CLOSING_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A camera that a shard shall watch. `started_s`: second 0 of a file, in Unix seconds; it outlives the shard."""

    spec: cameras.CameraSpec
    started_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """A shard's process and the cameras that it holds."""

    pid: int
    cameras: tuple[cameras.CameraStatus, ...]


class Shard(Protocol):
    """Where cameras live: a CameraShard, or a RemoteShard that stands for one in another process."""

    def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[answers.AnswerEvent, None]:
        """The events of one answer, Done last. Raises QuestionError. Closing it stops the answer."""
        ...

    async def add_camera(self, assignment: Assignment) -> None:
        """Watches a camera, its memory restored if there is a checkpoint; nothing happens if it does so already.

        Raises CameraExists for another spec under the same name, TooManyCameras, InvalidCamera, StoreUnavailable.
        """
        ...

    async def remove_camera(self, name: str, *, is_forgotten: bool) -> None:
        """Stops the camera and deletes its memory and, if it is to be forgotten, its checkpoints.

        Raises UnknownCamera, StoreUnavailable.
        """
        ...

    async def status(self) -> ShardStatus:
        """How the shard and its cameras are doing."""
        ...

    async def close(self) -> None:
        """Saves every memory once more and stops."""
        ...


class CameraShard:
    """A Shard in this process; owns device, feeds and checkpoints."""

    def __init__(
        self,
        model: vlm.VideoLanguageModel,
        settings: config.HermesConfig,
        checkpoints: store.CheckpointStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._ingest = settings.ingest
        self._store = checkpoints
        self._clock = clock
        self._device = device.Device(model, settings.memory, settings.shards.device, clock=clock)
        self._saving = checkpointing.Checkpointing(
            self._device, checkpoints, settings.shards.checkpoint_every_s, clock=clock
        )
        self._watched: dict[str, _Watched] = {}
        self._changing = asyncio.Lock()
        self._device.start()

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[answers.AnswerEvent, None]:
        inbox = _Inbox(asyncio.get_running_loop())
        ticket = self._device.ask(camera, question, inbox.deliver, max_answer_tokens=max_answer_tokens)
        try:
            while True:
                event = await inbox.next()
                yield event
                if isinstance(event, answers.Done):
                    return
        finally:
            ticket.cancel()

    async def add_camera(self, assignment: Assignment) -> None:
        spec = assignment.spec
        async with self._changing:
            held = self._watched.get(spec.name)
            if held is not None and held.spec == spec:
                return
            if held is not None:
                raise cameras.CameraExists(f"camera {spec.name!r} exists, with another URL or pace")
            urls.parse(spec.url)
            saved = await self._begin_memory(assignment)
            self._watch(assignment, saved)

    async def remove_camera(self, name: str, *, is_forgotten: bool) -> None:
        async with self._changing:
            held = self._watched.get(name)
            if held is None:
                raise answers.UnknownCamera(f"camera {name!r} is not here")
            await self._saving.drop(name)
            if is_forgotten:
                await self._forget(name)
            del self._watched[name]
            await asyncio.to_thread(held.feed.stop)
            await asyncio.to_thread(self._device.remove_camera, name)
        log.info("camera_removed", camera=name, is_forgotten=is_forgotten)

    @property
    def is_working(self) -> bool:
        """False once the device has stopped, on purpose or by an error that nobody foresaw."""
        return self._device.is_running

    async def status(self) -> ShardStatus:
        return ShardStatus(pid=os.getpid(), cameras=tuple(self._status(held) for held in self._watched.values()))

    async def close(self) -> None:
        async with self._changing:
            stops = [asyncio.to_thread(held.feed.stop) for held in self._watched.values()]
            await asyncio.gather(*stops)
            await self._saving.save_all(_CLOSING_TIMEOUT_S)
            self._watched.clear()
            await asyncio.to_thread(self._device.close)
            await self._store.close()

    async def _forget(self, name: str) -> None:
        """Deletes the camera's checkpoints; if the store will not, the camera goes on as if nothing had been asked."""
        try:
            await self._store.delete(name)
        except checkpoint.StoreError:
            self._saving.keep(name)
            raise

    async def _begin_memory(self, assignment: Assignment) -> checkpoint.Checkpoint | None:
        """Gives the camera a slot on the device, with its checkpoint if there is one that this model can read."""
        name, started_s = assignment.spec.name, assignment.started_s
        try:
            saved = await self._store.load(name)
            if saved is not None and saved.facts.fingerprint != self._model.spec.fingerprint:
                log.warning("checkpoint_of_another_model", camera=name, model=self._model.spec.name)
                saved = None
            await asyncio.to_thread(self._device.add_camera, name, saved, started_s=started_s)
        except checkpoint.CheckpointCorrupt as error:
            log.error("checkpoint_corrupt", camera=name, reason=str(error))
            saved = None
            await asyncio.to_thread(self._device.add_camera, name, started_s=started_s)
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
