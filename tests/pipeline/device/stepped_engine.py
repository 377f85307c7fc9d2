"""An engine without a thread of its own: the test runs one job after the other, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from cache_store.tiers import MemoryConfig
from models.answer_decoder import AnswerDecoder
from models.decode_step import AnswerSlabs
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import Done
from pipeline.cameras import TooManyCameras
from pipeline.device.device_config import DeviceConfig
from pipeline.device.device_thread import Deliver, DeviceThread
from pipeline.device.engine import Engine
from pipeline.device.engine_parts import EngineParts
from pipeline.device.failure_report import FailureReport
from pipeline.device.scheduler import Work
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

    thread: SteppedThread
    queue: RecordingQueue
    fixed_steps: FixedSteps | None

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
        self._config = config

        def report(event: str, **fields: object) -> None:
            self.reports.append({"event": event, **fields})

        def new_thread(*args: Any, **kwargs: Any) -> SteppedThread:
            self.thread = SteppedThread(*args, **kwargs)
            return self.thread

        def new_queue(max_clips: int, on_put: Callable[[], None]) -> RecordingQueue:
            self.queue = RecordingQueue(max_clips)
            return self.queue

        def new_decoder(model: VideoLanguageModel, slabs: AnswerSlabs, report: FailureReport) -> AnswerDecoder:
            self.fixed_steps = FixedSteps(model, slabs) if has_fixed_steps else None
            return AnswerDecoder(model, self.fixed_steps)

        parts = EngineParts(thread=new_thread, clips=new_queue, decoder=new_decoder, question_clock=lambda: self.now_s)
        super().__init__(model, memory, config, clock=lambda: 5_000.0, report=report, parts=parts)

    def require_every_slot_free(self) -> None:
        """Those of answers, and those of cameras beside the cameras that are there: all are used, then freed again."""
        spares = [f"spare {number}" for number in range(self._config.max_cameras - len(self.cameras))]
        for name in spares:
            self.add_camera(name)
        with pytest.raises(TooManyCameras):
            self.add_camera("one too many")
        slots = {camera.memory.slot for camera in self.cameras.values()}
        assert slots == set(range(self._config.max_cameras))
        events: list[object] = []
        for _ in range(self._config.max_running_questions):
            self.ask(next(iter(self.cameras)), "what is in view", events.append, max_answer_tokens=1)
        assert len(self.jobs.waiting()[Work.PREFILL]) == self._config.max_running_questions
        while self.thread.run_next():
            pass
        assert sum(isinstance(event, Done) for event in events) == self._config.max_running_questions
        for name in spares:
            self.remove_camera(name)
