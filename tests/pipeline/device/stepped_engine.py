"""An engine without a thread of its own: the test runs one job after the other, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from cache_store.tiers import MemoryConfig
from models.answer_decoder import AnswerDecoder
from models.vision_language_model import VideoLanguageModel
from pipeline.device.device_config import DeviceConfig
from pipeline.device.device_thread import Deliver, DeviceThread
from pipeline.device.engine import Engine
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from tests.pipeline.device.fixed_steps import FixedSteps

T = TypeVar("T")


class SteppedThread(DeviceThread):
    """The queues of a device thread, worked on by whoever calls it. Commands run at once."""

    def command(self, what: str, work: Callable[[], T], deliver: Deliver[T] | None = None) -> Future[T]:
        future = super().command(what, work, deliver)
        while self._commands:
            self._run_job(self._commands.popleft())
        return future

    def run_next(self) -> bool:
        """Runs the job whose turn it is; False if nothing waits."""
        job = self._choose()
        if job is not None:
            self._run_job(job)
        return job is not None


class RecordingQueue(ClipQueue):
    """Also keeps the steps that were taken last."""

    def __init__(self, max_clips: int) -> None:
        super().__init__(max_clips)
        self.taken: list[Clip] = []

    def take_steps(self, count: int, max_frames: int | None = None) -> list[Clip]:
        steps = super().take_steps(count, max_frames)
        self.taken += steps
        return steps

    def has_put_back(self, clip: Clip) -> bool:
        """Whether a clip that was taken waits again."""
        clips = self._cameras.get(clip.camera)
        return clips is not None and any(waiting.times_s is clip.times_s for waiting in clips.waiting)


class SteppedEngine(Engine):
    """An engine on the test's own thread. now_s: of the clock by which questions expire.

    fixed_steps: its decode steps, if they are to be those that CUDA graphs replay.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        memory: MemoryConfig,
        config: DeviceConfig,
        *,
        has_fixed_steps: bool = False,
    ) -> None:
        self.reports: list[dict[str, object]] = []
        self.now_s = 0.0

        def report(event: str, **fields: object) -> None:
            self.reports.append({"event": event, **fields})

        super().__init__(model, memory, config, clock=lambda: 5_000.0, report=report)
        self.thread = SteppedThread(self._next_job, on_stop=self._questions.close, report=report)
        self.queue = RecordingQueue(config.max_queued_clips)
        self._thread, self.clips, self._ingest._clips = self.thread, self.queue, self.queue
        self._slots._dropped_frames = self.queue.dropped_frames
        self._questions._clock = lambda: self.now_s
        self.fixed_steps = FixedSteps(model, self._questions._slots.slabs) if has_fixed_steps else None
        self._questions._decoder = AnswerDecoder(model, self.fixed_steps)
        self._num_suffix_slots = len(self._questions._slots._free)

    def has_every_slot_free(self) -> bool:
        """Of answers, and the cameras' beside those that are there."""
        slots, answers = self._slots, self._questions._slots
        num_taken = len({camera.memory.slot for camera in slots.cameras.values()})
        return (
            sorted([*slots._free, *(camera.memory.slot for camera in slots.cameras.values())])
            == list(range(slots._config.max_cameras))
            and num_taken == len(slots.cameras)
            and answers.num_free == answers._max_running
            and len(answers._free) == self._num_suffix_slots
        )
