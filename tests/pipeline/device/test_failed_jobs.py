"""What becomes of the clip, the question or the command whose job fails, and of those who wait for a dead device."""

from __future__ import annotations

import threading
from typing import TypeVar

import pytest
import torch

from cache_store.gap import Gap
from pipeline.answers import (
    AnswerEvent,
    AnswerFailed,
    Done,
    Evidence,
    Overloaded,
    QuestionError,
    Started,
)
from pipeline.cameras import CameraFailed
from pipeline.device.engine import Engine
from pipeline.sources.clips import Clip
from tests.conftest import random_frames
from tests.pipeline.device.engine_driver import (
    TIMEOUT_S,
    EventRecorder,
    ask,
    ingest,
    paused,
    settle,
    whole,
)

T = TypeVar("T")

QUESTION = "what is in view"
FAILED = "the device failed at these frames"


def unpaintable(camera: str, first_s: float) -> Clip:
    """A clip whose previews are no images: the JPEG encoder refuses them."""
    times_s = tuple(first_s + offset / 2 for offset in range(4))
    return Clip(camera, random_frames(4), times_s, (torch.zeros(2, 3, 7, dtype=torch.uint8),) * 4, times_s[-1])


def test_frames_that_fail_leave_the_memory_as_it_was_and_a_gap_until_the_next_frame(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 5)
    before = whole(engine, "lobby")

    for first_s in (1_010.0, 1_012.0):
        engine.clips.put(unpaintable("lobby", first_s))
    settle(engine)

    after = whole(engine, "lobby")
    for was, now in zip(before.layers, after.layers, strict=True):
        assert torch.equal(was.keys, now.keys)
        assert torch.equal(was.token_ids, now.token_ids)
    started = ask(engine, "lobby", QUESTION).wait()[0]
    assert isinstance(started, Started)
    assert (started.memory_as_of_s, started.gaps) == (1_009.5, (Gap(1_009.5, 1_013.5, FAILED),))
    assert engine.status("lobby").gaps == started.gaps
    assert engine.status("lobby").frames_dropped == 8
    ingest(engine, "lobby", 1, first_s=1_014.0)
    assert engine.status("lobby").gaps == (Gap(1_009.5, 1_014.0, FAILED),)
    assert engine.status("lobby").frames_seen == 24


def test_the_first_frames_of_a_camera_may_fail(engine: Engine) -> None:
    engine.add_camera("lobby")
    engine.clips.put(unpaintable("lobby", 1_000.0))
    settle(engine)
    assert engine.status("lobby").gaps == (Gap(1_000.0, 1_001.5, FAILED),)
    ingest(engine, "lobby", 1, first_s=1_002.0)
    assert engine.status("lobby").gaps == (Gap(1_000.0, 1_002.0, FAILED),)


class FailingListener(EventRecorder):
    """Fails at one kind of event, as the queue of a client that is gone does."""

    def __init__(self, kind: type[AnswerEvent | QuestionError]) -> None:
        super().__init__()
        self._kind = kind

    def on_event(self, event: AnswerEvent | QuestionError) -> None:
        if isinstance(event, self._kind):
            raise RuntimeError("Event loop is closed")
        super().on_event(event)


@pytest.mark.parametrize("kind", [Started, Evidence, Done, AnswerFailed])
def test_a_listener_that_fails_ends_its_own_answer_only(
    engine: Engine, kind: type[AnswerEvent | QuestionError]
) -> None:
    engine.add_camera("lobby")
    engine.add_camera("gate")
    ingest(engine, "lobby", 3)
    events = ask(engine, "lobby", QUESTION).wait()
    assert Evidence in map(type, events)
    expected = events[-1].answer  # type: ignore[union-attr]
    with paused(engine, "lobby"):
        engine.ask("lobby", QUESTION, FailingListener(kind).on_event)
        engine.ask("gate", QUESTION, FailingListener(kind).on_event)
        removing = threading.Thread(target=engine.remove_camera, args=("gate",))
        removing.start()
    removing.join(TIMEOUT_S)

    # Both slots are free again.
    assert [ask(engine, "lobby", QUESTION).done().answer for _ in range(4)] == [expected] * 4
    assert engine.is_running


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_device_refuses_questions_and_commands_at_once(engine: Engine) -> None:
    def lose_gpu(_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    engine.add_camera("lobby")
    with paused(engine, "lobby") as running:
        engine.ask("lobby", QUESTION, lose_gpu)
        waiting = ask(engine, "lobby", QUESTION)

    assert isinstance(running.wait()[-1], AnswerFailed)
    assert isinstance(waiting.wait()[-1], AnswerFailed)
    assert not engine.is_running
    with pytest.raises(AnswerFailed, match="question to camera 'lobby': the device has stopped"):
        ask(engine, "lobby", QUESTION)
    with pytest.raises(CameraFailed, match="camera 'gate': adding it: the device has stopped"):
        engine.add_camera("gate")
    with pytest.raises(CameraFailed, match="copying it: the device has stopped"):
        whole(engine, "lobby")


def test_a_cancelled_question_gives_up_its_place_in_the_queue_at_once(engine: Engine) -> None:
    engine.add_camera("lobby")
    with paused(engine, "lobby"):
        requests = [engine.ask("lobby", QUESTION, EventRecorder().on_event) for _ in range(3)]
        with pytest.raises(Overloaded):
            ask(engine, "lobby", QUESTION)
        requests[1].cancel()
        later = ask(engine, "lobby", QUESTION)
        with pytest.raises(Overloaded):
            ask(engine, "lobby", QUESTION)
    assert later.done().answer_tokens
