"""What a device refuses or gives up leaves everything else as in a run without it, to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from models.llava_onevision import LlavaOnevision
from pipeline.answers import AnswerFailed, Caller, InvalidQuestion, QuestionExpired
from pipeline.cameras import TooManyCameras
from pipeline.device.engine import Engine
from tests.conftest import assert_same
from tests.pipeline.device.engine_driver import CONFIG, MEMORY, EventRecorder, ask, ingest, paused, settle, whole

Refusal = Callable[[Engine], None]
QUESTION = "what is in view"


def nothing(engine: Engine) -> None:
    """The usual run."""


def more_cameras_than_slots(engine: Engine) -> None:
    engine.add_camera("gate")
    with pytest.raises(TooManyCameras, match="'yard': all 2 slots are taken"):
        engine.add_camera("yard")
    engine.remove_camera("gate")


def question_longer_than_the_context(engine: Engine) -> None:
    with pytest.raises(InvalidQuestion, match="tokens"):
        ask(engine, "lobby", "a " * 900)


def deadline_of_a_millisecond(engine: Engine) -> None:
    """It passes while another question holds the device."""
    recorder = EventRecorder()
    with paused(engine, "lobby"):
        engine.ask("lobby", QUESTION, recorder.on_event, caller=Caller("hasty", 0.001))
        # The device is paused until the deadline has passed.
        began_s = time.monotonic()
        while time.monotonic() < began_s + 0.001:
            pass
    assert isinstance(recorder.wait()[-1], QuestionExpired)


def client_that_cancels(engine: Engine) -> None:
    recorder = EventRecorder()
    with paused(engine, "lobby"):
        engine.ask("lobby", QUESTION, recorder.on_event).cancel()
    settle(engine)
    assert not any(isinstance(event, AnswerFailed) for event in recorder.events)


def outcome(model: LlavaOnevision, refusal: Refusal) -> tuple[list[torch.Tensor], list[str]]:
    """The lobby's memory and answers at the end, with the refusal in the middle."""
    engine = Engine(model, MEMORY, CONFIG, clock=lambda: 5_000.0)
    engine.start()
    try:
        engine.add_camera("lobby")
        ingest(engine, "lobby", 3)
        answers = [ask(engine, "lobby", QUESTION).done().answer]
        refusal(engine)
        ingest(engine, "lobby", 3, first_s=2_000.0)
        # Every slot is free: as many questions at once as there are.
        questions = [ask(engine, "lobby", QUESTION) for _ in range(CONFIG.max_running_questions)]
        answers += [question.done().answer for question in questions]
        layers = whole(engine, "lobby").layers
        return [tensor for layer in layers for _, _, tensor in layer.tensors()], answers
    finally:
        engine.close()


@pytest.mark.parametrize(
    "refusal",
    [more_cameras_than_slots, question_longer_than_the_context, deadline_of_a_millisecond, client_that_cancels],
)
def test_everything_else_is_as_without_it(model: LlavaOnevision, refusal: Refusal) -> None:
    usual, answers = outcome(model, nothing)

    found, found_answers = outcome(model, refusal)

    assert_same(found, usual)
    assert found_answers == answers
