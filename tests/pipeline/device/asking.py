"""Asks an engine and records what comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.answers import AnswerEvent, Done, QuestionError, Token
from pipeline.device.engine import Engine

TIMEOUT_S = 60.0


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
