"""Drives an engine in tests: ingests clips, asks questions, records their events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from cache_store.checkpoint import Checkpoint
from cache_store.tiers import MemoryConfig
from pipeline.answers import AnswerEvent, Done, QuestionError, Token
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.device.scheduler import Work
from pipeline.sources.clips import Clip
from tests.conftest import random_frames

TIMEOUT_S = 60.0
MEMORY = MemoryConfig(tokens_per_layer=128, recent_frames=4)
CONFIG = DeviceConfig(max_cameras=2, max_running_questions=2, max_waiting_questions=3, max_answer_tokens=6)


def clip(camera: str, first_s: float, num_frames: int = 4, seed: int = 0) -> Clip:
    times = tuple(first_s + offset / 2 for offset in range(num_frames))
    previews = tuple(torch.full((9, 16, 3), int(2 * time_s) % 256, dtype=torch.uint8) for time_s in times)
    return Clip(camera, random_frames(num_frames, seed), times, previews, received_s=times[-1])


def ingest(engine: Engine, camera: str, num_clips: int, *, first_s: float = 1_000.0) -> None:
    """Puts clips one by one and waits until each is in the memory."""
    for number in range(num_clips):
        start = first_s + 2 * number
        engine.clips.put(clip(camera, start, seed=number))
        while engine.status(camera).newest_s != start + 1.5:
            engine.snapshot(camera).result(timeout=20)
    settle(engine)


def has_frames(engine: Engine) -> bool:
    """Whether frames wait, or a part of a step. Device thread only."""
    waiting = engine.jobs.waiting()
    return any(waiting.get(part) for part in (Work.ENCODE, Work.APPEND, Work.COMPACT))


def settle(engine: Engine) -> None:
    """Waits until every clip that was put has been taken, and its jobs are over."""
    while engine.command("nothing", partial(has_frames, engine)).result(TIMEOUT_S):
        pass


def whole(engine: Engine, camera: str) -> Checkpoint:
    """A copy of the camera's memory with its newest frames."""
    return engine.snapshot(camera, is_whole=True).result(TIMEOUT_S)


class EventRecorder:
    """Records the events of one question."""

    def __init__(self) -> None:
        self.events: list[AnswerEvent | QuestionError] = []
        self._has_ended = threading.Event()

    def on_event(self, event: AnswerEvent | QuestionError) -> None:
        self.events.append(event)
        if isinstance(event, Done | QuestionError):
            self._has_ended.set()

    def wait(self) -> list[AnswerEvent | QuestionError]:
        """Blocks until the question has ended."""
        assert self._has_ended.wait(TIMEOUT_S), self.events
        return self.events

    def done(self) -> Done:
        """The end of an answer that succeeded. Blocks until then."""
        end = self.wait()[-1]
        assert isinstance(end, Done), end
        return end


class PausingRecorder(EventRecorder):
    """Pauses the device thread at its first token until `resume`."""

    def __init__(self) -> None:
        super().__init__()
        self._is_paused, self._may_resume = threading.Event(), threading.Event()

    def on_event(self, event: AnswerEvent | QuestionError) -> None:
        super().on_event(event)
        if isinstance(event, Token) and not self._is_paused.is_set():
            self._is_paused.set()
            assert self._may_resume.wait(TIMEOUT_S)

    def wait_until_paused(self) -> None:
        assert self._is_paused.wait(TIMEOUT_S), self.events

    def resume(self) -> None:
        self._may_resume.set()


def ask(engine: Engine, camera: str, question: str) -> EventRecorder:
    """Asks without waiting for the end."""
    recorder = EventRecorder()
    engine.ask(camera, question, recorder.on_event)
    return recorder


@contextmanager
def paused(engine: Engine, camera: str, question: str = "what is in view") -> Iterator[PausingRecorder]:
    """The device thread pauses at the first token of a question; what is asked meanwhile waits."""
    recorder = PausingRecorder()
    engine.ask(camera, question, recorder.on_event)
    recorder.wait_until_paused()
    try:
        yield recorder
    finally:
        recorder.resume()
