"""A device and feeds without pictures: of each memory only which frames it has seen is simulated."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import torch

from actors.shard.shard_device import ShardDevice
from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from pipeline.answers import AnswerFailed, Done, FinishReason, QuestionError, Started, Token, UnknownCamera
from pipeline.cameras import CameraExists, CameraSpec, CameraState, TooManyCameras
from pipeline.memory_status import MemoryStatus
from pipeline.network import urls
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.feed_output import OnState
from pipeline.sources.ingest_config import IngestConfig
from tests.cache_store.test_checkpoint import FACTS
from tests.virtual_time import now_s

_FRAME_EVERY_S = 0.5
_CONNECTING_S = 0.2
_TOKENS, _TOKEN_EVERY_S = 3, 0.1
_MAX_QUEUED_CLIPS = 8

OnEvent = Callable[[Started | Token | Done | QuestionError], None]


@dataclass(frozen=True, slots=True)
class SeenFrames:
    """What a memory has seen: how many frames, since when without a break, and of which camera and source each."""

    count: int = 0
    first_s: float = 0.0
    scenes: tuple[str, ...] = ()

    def and_one_of(self, scene: str) -> SeenFrames:
        return SeenFrames(self.count + 1, self.first_s or now_s(), tuple(sorted({*self.scenes, scene})))

    def to_text(self) -> str:
        return json.dumps(dataclasses.astuple(self))

    @classmethod
    def from_text(cls, text: str | bytes) -> SeenFrames:
        count, first_s, scenes = json.loads(text)
        return cls(count, first_s, tuple(scenes))


class Scenes:
    """What the cameras of a run show: a clip holds the number of its scene in place of pictures."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._pictures: dict[str, torch.Tensor] = {}

    def picture(self, camera_id: str, source: str) -> torch.Tensor:
        scene = f"{camera_id} {source}"
        if scene not in self._pictures:
            self._pictures[scene] = torch.full((1, 1, 1, 3), len(self._names), dtype=torch.int32)
            self._names.append(scene)
        return self._pictures[scene]

    def name(self, picture: torch.Tensor) -> str:
        return self._names[int(picture.flatten()[0])]


@dataclass(slots=True)
class _Memory:
    seen: SeenFrames
    started_s: float
    newest_s: float | None


class Ticket:
    """A question that was asked."""

    def __init__(self, task: asyncio.Task[None], on_event: OnEvent) -> None:
        self._task = task
        self._on_event = on_event

    def cancel(self) -> None:
        self._task.cancel()

    def fail(self, reason: str) -> None:
        if not self._task.done():
            self._task.cancel()
            self._on_event(AnswerFailed(reason))


class SimulatedEngine:
    """An Engine. on_added: called with the id of a camera and what its restored memory has seen.

    Each answer has the id `answer_id`, and its text says what the memory has seen.
    """

    busy_share = 0.0
    answer_id = ""

    def __init__(self, scenes: Scenes, slots: int, on_added: Callable[[str, SeenFrames], None]) -> None:
        self.clips = ClipQueue(_MAX_QUEUED_CLIPS, on_put=self._ingest)
        self.is_running = False
        self._scenes = scenes
        self._slots = slots
        self._on_added = on_added
        self._memories: dict[str, _Memory] = {}
        self._tickets: dict[Ticket, str] = {}

    def start(self) -> None:
        self.is_running = True

    def measure_ingest(self) -> futures.Future[float]:
        """Never known: a simulated device has time for every camera."""
        return futures.Future()

    def close(self) -> None:
        self.is_running = False

    def add_camera(
        self,
        name: str,
        checkpoint: Checkpoint | None = None,
        *,
        started_s: float | None = None,
        gap: Gap | None = None,
        is_gated: bool = False,
    ) -> None:
        if name in self._memories:
            raise CameraExists(name)
        if len(self._memories) >= self._slots:
            raise TooManyCameras(f"all {self._slots} slots are taken")
        seen = SeenFrames.from_text(checkpoint.thumbnails[0]) if checkpoint else SeenFrames()
        newest_s = checkpoint.facts.newest_s if checkpoint and seen.count else None
        self._memories[name] = _Memory(seen, started_s or 0.0, newest_s)
        self._on_added(name, seen)

    def remove_camera(self, name: str, *, keeps_answers: bool = False) -> None:
        self._memory(name)
        del self._memories[name]
        self.clips.remove(name)
        if not keeps_answers:
            self._fail(name, "it was removed")

    def set_gate(self, name: str, *, is_gated: bool) -> None:
        self._memory(name)

    def erase_camera(self, name: str, gap: Gap, *, keeps_place: bool = True) -> None:
        memory = self._memory(name)
        self._memories[name] = _Memory(SeenFrames(), memory.started_s, None)
        self.clips.remove(name)
        self._fail(name, "its memory was erased")

    def is_new(self, name: str) -> bool:
        return not self._memory(name).seen.count

    def status(self, name: str) -> MemoryStatus:
        memory = self._memory(name)
        return MemoryStatus(frames_seen=memory.seen.count, newest_s=memory.newest_s)

    def ask(self, camera: str, question: str, on_event: OnEvent, **_: Any) -> Ticket:
        text = self._memory(camera).seen.to_text()
        started = Started(self.answer_id, camera, self._memory(camera).newest_s or 0.0)
        ticket = Ticket(asyncio.get_running_loop().create_task(_answer(started, text, on_event)), on_event)
        self._tickets[ticket] = camera
        return ticket

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        future: futures.Future[Checkpoint] = futures.Future()
        try:
            memory = self._memory(camera)
        except UnknownCamera as error:
            future.set_exception(error)
            return future
        facts = dataclasses.replace(
            FACTS, frames_seen=memory.seen.count, started_s=memory.started_s, newest_s=memory.newest_s or 0.0, gaps=()
        )
        future.set_result(Checkpoint(facts, (), {0: memory.seen.to_text().encode()}))
        return future

    def _memory(self, name: str) -> _Memory:
        if name not in self._memories:
            raise UnknownCamera(name)
        return self._memories[name]

    def _ingest(self) -> None:
        while (clip := self.clips.take()) is not None:
            memory = self._memories.get(clip.camera)
            if memory is not None:
                memory.seen = memory.seen.and_one_of(self._scenes.name(clip.frames))
                memory.newest_s = clip.times_s[-1]

    def _fail(self, camera: str, reason: str) -> None:
        for ticket in [ticket for ticket, of in self._tickets.items() if of == camera]:
            del self._tickets[ticket]
            ticket.fail(f"camera {camera!r}: {reason}")


async def _answer(started: Started, text: str, on_event: OnEvent) -> None:
    on_event(started)
    for index in range(_TOKENS):
        await asyncio.sleep(_TOKEN_EVERY_S)
        on_event(Token(text, index))
    on_event(Done(FinishReason.END, text, 1, _TOKENS, 100.0))


class SimulatedFeed:
    """A frame every half second until it is stopped. The camera has the identity that the shard watches it under."""

    def __init__(self, scenes: Scenes, clock: Callable[[], float], spec: CameraSpec, **feed: object) -> None:
        self._clips: ClipQueue = feed["clips"]  # type: ignore[assignment]
        self._on_state: OnState = feed["on_state"]  # type: ignore[assignment]
        self._camera_id = str(feed["camera_id"])
        self._newest_s: float = feed["resume_from_s"] or 0.0  # type: ignore[assignment]
        self._clock = clock
        self._picture = scenes.picture(self._camera_id, urls.source_of(spec.url))
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self, timeout_s: float = 0.0) -> None:
        self.request_stop()

    def limit_rate(self, share: float) -> None:
        """Its rate is not lowered."""

    def request_stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(_CONNECTING_S)
        self._on_state(CameraState.LIVE, "", None, None)
        while True:
            # After a step of the clock the times go on as of a real source: never backwards.
            self._newest_s = max(self._clock(), self._newest_s + 0.001)
            self._clips.put(Clip(self._camera_id, self._picture, (self._newest_s,), (self._picture,), self._newest_s))
            await asyncio.sleep(_FRAME_EVERY_S)


def device(
    scenes: Scenes, slots: int, clock: Callable[[], float], on_added: Callable[[str, SeenFrames], None]
) -> ShardDevice:
    """What a simulated shard works with."""

    def open_feed(spec: CameraSpec, config: IngestConfig, **feed: object) -> SimulatedFeed:
        return SimulatedFeed(scenes, clock, spec, **feed)

    engine = SimulatedEngine(scenes, slots, on_added)
    fingerprints: Sequence[str] = (FACTS.fingerprint,)
    return ShardDevice(engine, open_feed, tuple(fingerprints))  # type: ignore[arg-type]
