"""What clients wait for at a running engine: alone, many at once, and while cameras are ingested."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from benchmarks.on_device import full_memories
from cache_store.tiers import MemoryConfig
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import AnswerEvent, Done, QuestionError
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.sources.clips import Clip

_PREVIEW = np.zeros((9, 16, 3), np.uint8)
_TIMEOUT_S = 300.0
_DRAWN_STEPS = 4
QUESTIONS = (
    "what is in view",
    "what came first",
    "what left last",
    "what colour was the last car that came into view",
    "how many cars so far",
)


class Listener:
    """Waits for the end of one answer."""

    def __init__(self) -> None:
        self._end: AnswerEvent | QuestionError | None = None
        self._has_ended = threading.Event()

    def on_event(self, event: AnswerEvent | QuestionError) -> None:
        if isinstance(event, Done | QuestionError):
            self._end = event
            self._has_ended.set()

    def done(self) -> Done:
        """The end of the answer. Raises the QuestionError that ended it, and TimeoutError."""
        if not self._has_ended.wait(_TIMEOUT_S):
            raise TimeoutError(f"an answer: no end after {_TIMEOUT_S:g} s (limit)")
        if isinstance(self._end, QuestionError):
            raise self._end
        assert isinstance(self._end, Done)
        return self._end


class Cameras:
    """A running engine whose cameras have memories that are full of frames."""

    def __init__(self, model: VideoLanguageModel, memory: MemoryConfig, device: DeviceConfig) -> None:
        self._model, self._num_frames = model, device.max_frames_per_step
        self.engine = Engine(model, memory, device)
        self.names = [f"camera-{number}" for number in range(device.max_cameras)]
        self._next_frame = dict.fromkeys(self.names, 0)
        # Drawn once: drawing while questions are timed would take from the device's thread.
        self._street = full_memories.street(model, _DRAWN_STEPS * self._num_frames)
        self.engine.start()
        for name in self.names:
            self.engine.add_camera(name)

    def put(self, name: str, num_frames: int | None = None) -> None:
        """Queues frames of a camera as one clip: a whole step of them unless given."""
        first, num_frames = self._next_frame[name], num_frames or self._num_frames
        self._next_frame[name] += num_frames
        times_s = tuple((first + frame) / 2 for frame in range(num_frames))
        drawn = first % len(self._street)
        frames = self._street[drawn : drawn + num_frames].numpy()
        self.engine.clips.put(Clip(name, frames, times_s, (_PREVIEW,) * len(times_s), received_s=times_s[-1]))

    def fill(self, num_steps: int) -> None:
        """Ingests so many steps of every camera."""
        for _ in range(num_steps):
            for name in self.names:
                self.put(name)
            self.settle()

    def settle(self) -> None:
        """Waits until every frame that was put has been ingested. Raises RuntimeError if one was lost."""
        for name in self.names:
            while self.engine.status(name).frames_seen < self._next_frame[name]:
                if lost := self.engine.clips.dropped_frames(name):
                    raise RuntimeError(f"camera {name!r}: {lost} frames were lost, see the log")
                self.engine.set_gate(name, is_gated=False)  # waits for the end of the job at hand, and no longer

    def ask(self, number: int) -> Listener:
        """Asks one of the cameras one of the questions; the same for the same number."""
        listener = Listener()
        name = self.names[number % len(self.names)]
        self.engine.ask(name, QUESTIONS[number % len(QUESTIONS)], listener.on_event)
        return listener

    def first_token_waits_s(self, number: int) -> list[float]:
        """Of questions that are asked one after the other."""
        return [self.ask(index).done().time_to_first_token_ms / 1e3 for index in range(number)]

    @contextmanager
    def ingesting(self, steps_per_s: float) -> Iterator[None]:
        """Every camera gets so many steps of frames a second meanwhile, all cameras in turn."""
        is_over = threading.Event()

        def put_on_time() -> None:
            began_s, number = time.monotonic(), 0
            while not is_over.wait(max(0.0, began_s + number / (steps_per_s * len(self.names)) - time.monotonic())):
                self.put(self.names[number % len(self.names)])
                number += 1

        thread = threading.Thread(target=put_on_time, name="cameras", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def batch_over_serial(cameras: Cameras, number: int) -> tuple[float, float, bool]:
    """Seconds for questions one after the other and for the same all at once; whether the answers are the same."""
    began_s = time.perf_counter()
    alone = [cameras.ask(index).done() for index in range(number)]
    alone_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    together = [listener.done() for listener in [cameras.ask(index) for index in range(number)]]
    together_s = time.perf_counter() - began_s
    return alone_s, together_s, _texts(alone) == _texts(together)


def _texts(answers: Sequence[Done]) -> list[str]:
    return [answer.answer for answer in answers]
