"""Questions to an engine: their events, and how they are refused, cancelled and failed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from models.answer_decoder import AnswerDecoder
from models.llava_onevision import LlavaOnevision
from models.prompts import Prompts, QuestionPrompt
from pipeline.answers import (
    AnswerEvent,
    AnswerFailed,
    Done,
    Evidence,
    InvalidQuestion,
    Overloaded,
    QuestionError,
    Started,
    Token,
    WarningCode,
)
from pipeline.cameras import CameraFailed
from pipeline.device.answer_slots import AnswerSlots
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.device_config import DeviceConfig
from pipeline.device.device_thread import Job
from pipeline.device.engine import Engine
from pipeline.device.questions import QuestionRunner
from pipeline.device.scheduler import Scheduler
from tests.conftest import random_frames
from tests.pipeline.device.engine_driver import (
    CONFIG,
    MEMORY,
    TIMEOUT_S,
    EventRecorder,
    PausingRecorder,
    ask,
    ingest,
    paused,
)
from tests.pipeline.device.test_camera_memory import append, new_camera


def test_a_question_brings_started_tokens_and_done(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 3)
    events = ask(engine, "lobby", "What is in view?").wait()
    assert isinstance(events[0], Started)
    assert events[0].memory_as_of_s == 1_005.5
    assert isinstance(events[-1], Done)
    tokens = [event.text for event in events if isinstance(event, Token)]
    assert len(tokens) == CONFIG.max_answer_tokens
    assert "".join(tokens) == events[-1].answer


def test_an_answer_is_no_longer_than_the_device_allows(engine: Engine) -> None:
    engine.add_camera("lobby")
    recorder = EventRecorder()
    engine.ask("lobby", "what is in view", recorder.on_event, max_answer_tokens=10 * CONFIG.max_answer_tokens)
    assert recorder.done().answer_tokens == CONFIG.max_answer_tokens


class FixedText:
    """Prompts whose every answer reads the same."""

    def __init__(self, prompts: Prompts, text: str) -> None:
        self._prompts = prompts
        self._text = text

    def question(self, text: str) -> QuestionPrompt:
        return self._prompts.question(text)

    def decode(self, ids: tuple[int, ...]) -> str:
        return self._text

    def has_evidence(self, answer: str) -> bool:
        return self._prompts.has_evidence(answer)


def next_job(runner: QuestionRunner, cameras: dict[str, CameraMemory]) -> Job | None:
    """Of a device that has nothing but questions."""
    runner.end_unanswerable(cameras)
    turn = Scheduler(max_tokens=2_048).next_turn(runner.waiting(cameras))
    return None if turn is None else runner.next_job(turn, cameras)


def run_question(model: LlavaOnevision, text: str) -> list[AnswerEvent | QuestionError]:
    """The events of a question whose answer of three tokens reads `text`; each job takes a second."""
    camera = new_camera(model, is_gated=False)
    append(camera, random_frames(4), first_s=1_000.0)
    events: list[AnswerEvent | QuestionError] = []
    now_s = 0.0
    runner = QuestionRunner(
        AnswerDecoder(model),
        FixedText(model.prompts, text),  # type: ignore[arg-type]
        AnswerSlots(model.spec.kv, CONFIG, camera.memory.slabs.capacity),
        CONFIG,
        clock=lambda: now_s,
    )
    runner.add("lobby", "is there a dog", events.append, max_answer_tokens=3)
    while (job := next_job(runner, {"lobby": camera})) is not None:
        now_s += 1.0
        job.run()
    return events


def test_the_time_to_first_token_ends_at_the_first_token(model: LlavaOnevision) -> None:
    done = run_question(model, "red car")[-1]
    assert isinstance(done, Done)
    assert (done.answer_tokens, done.time_to_first_token_ms) == (3, 1_000.0)


@pytest.mark.parametrize(("text", "has_evidence"), [("red car", True), ("no", False), ("nothing", False)])
def test_an_answer_that_denies_has_no_evidence(model: LlavaOnevision, text: str, has_evidence: bool) -> None:
    """No moment proves that something is absent."""
    events = run_question(model, text)
    assert any(isinstance(event, Evidence) for event in events) == has_evidence


def answers(model: LlavaOnevision, cameras: dict[str, CameraMemory], slots: int) -> dict[str, str]:
    """The answer to the same question on each camera, all asked at once, with so many slots."""
    capacity = max(camera.memory.slabs.capacity for camera in cameras.values())
    config = replace(CONFIG, max_running_questions=slots)
    runner = QuestionRunner(
        AnswerDecoder(model),
        model.prompts,
        AnswerSlots(model.spec.kv, config, capacity),
        config,
    )
    recorders = {name: EventRecorder() for name in cameras}
    for name, recorder in recorders.items():
        runner.add(name, "what is in view", recorder.on_event)
    while (job := next_job(runner, cameras)) is not None:
        job.run()
    return {name: recorder.done().answer for name, recorder in recorders.items()}


def test_answers_that_run_side_by_side_read_nothing_of_each_other(model: LlavaOnevision) -> None:
    """Three questions in two slots, one of which is used twice."""
    cameras = {name: new_camera(model, is_gated=False) for name in ("lobby", "gate", "yard")}
    for seed, camera in enumerate(cameras.values()):
        append(camera, random_frames(4 * (seed + 1), seed), first_s=1_000.0)

    alone = {name: answers(model, {name: camera}, slots=1)[name] for name, camera in cameras.items()}

    assert alone["lobby"] != alone["gate"] != alone["yard"]
    assert answers(model, cameras, slots=2) == alone


def test_words_that_the_model_does_not_know_come_as_a_warning(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 1)
    started = ask(engine, "lobby", "is there a zeppelin").wait()[0]
    assert isinstance(started, Started)
    assert started.warnings[0].code is WarningCode.UNKNOWN_WORDS
    assert started.warnings[0].words == ("zeppelin",)


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ("  ", "empty"),
        ("\N{ZERO WIDTH SPACE}\x00\n", "empty"),
        ("what is \ud800 in view", "character 9 is half of a surrogate pair"),
        ("?!", r"'\?!': the model reads nothing in it"),
        ("car " * 10_000, "39999 characters"),
        ("a " * 900, "9[0-9]+ tokens"),
    ],
)
def test_an_invalid_question_is_refused_at_once(engine: Engine, question: str, problem: str) -> None:
    engine.add_camera("lobby")
    with pytest.raises(InvalidQuestion, match=problem):
        ask(engine, "lobby", question)


def test_a_question_is_refused_while_as_many_as_may_wait_do(engine: Engine) -> None:
    engine.add_camera("lobby")
    with paused(engine, "lobby"):
        waiting = [ask(engine, "lobby", "what is in view") for _ in range(3)]
        with pytest.raises(Overloaded, match="limit 3"):
            ask(engine, "lobby", "what is in view")
    assert [recorder.done().answer_tokens for recorder in waiting] == [6, 6, 6]
    ask(engine, "lobby", "what is in view").done()


def test_a_cancelled_answer_stops_at_its_next_step_and_frees_its_slot(model: LlavaOnevision) -> None:
    engine = Engine(model, MEMORY, DeviceConfig(max_cameras=1, max_running_questions=1, max_answer_tokens=6))
    engine.start()
    engine.add_camera("lobby")
    cancelled = PausingRecorder()
    request = engine.ask("lobby", "what is in view", cancelled.on_event)
    cancelled.wait_until_paused()

    request.cancel()
    cancelled.resume()

    # The only slot is free for another answer, which needs more steps than the cancelled one had left.
    assert ask(engine, "lobby", "what is in view").done().answer_tokens == 6
    engine.close()
    assert [type(event) for event in cancelled.events] == [Started, Token]


def test_a_question_cancelled_while_it_waits_is_never_started(engine: Engine) -> None:
    engine.add_camera("lobby")
    with paused(engine, "lobby"):
        cancelled = EventRecorder()
        engine.ask("lobby", "what is in view", cancelled.on_event).cancel()
        later = ask(engine, "lobby", "what is in view")
    later.done()
    engine.close()
    assert cancelled.events == []


def test_a_removed_camera_ends_its_questions_and_no_others(model: LlavaOnevision) -> None:
    config = DeviceConfig(max_cameras=2, max_running_questions=1, max_answer_tokens=1_000)
    engine = Engine(model, MEMORY, config)
    engine.start()
    engine.add_camera("lobby")
    engine.add_camera("gate")
    with paused(engine, "lobby") as running:
        waiting = ask(engine, "lobby", "what is in view")
        other = EventRecorder()
        engine.ask("gate", "what is in view", other.on_event, max_answer_tokens=6)

    # The answer would take seconds more.
    engine.remove_camera("lobby")

    assert isinstance(running.wait()[-1], AnswerFailed)
    assert [type(event) for event in waiting.wait()] == [AnswerFailed]
    assert other.done().answer_tokens == 6
    engine.close()


def test_a_camera_that_moved_away_ends_the_questions_that_wait_and_no_answer(model: LlavaOnevision) -> None:
    """An answer reads a copy of the memory, and the slot may be another camera's by then."""
    config = DeviceConfig(max_cameras=1, max_running_questions=1, max_answer_tokens=6)
    engine = Engine(model, MEMORY, config)
    engine.start()
    engine.add_camera("lobby")
    with paused(engine, "lobby") as running:
        waiting = ask(engine, "lobby", "what is in view")
        removing = threading.Thread(target=partial(engine.remove_camera, "lobby", keeps_answers=True))
        removing.start()
        while not engine.has_command:
            time.sleep(0.01)
    removing.join(TIMEOUT_S)
    engine.add_camera("gate")

    assert [type(event) for event in waiting.wait()] == [AnswerFailed]
    assert running.done().answer_tokens == 6
    engine.close()


def test_closing_ends_every_running_and_waiting_question(model: LlavaOnevision) -> None:
    engine = Engine(model, MEMORY, DeviceConfig(max_cameras=1, max_running_questions=1, max_answer_tokens=6))
    engine.start()
    engine.add_camera("lobby")
    with paused(engine, "lobby") as running:
        waiting = ask(engine, "lobby", "what is in view")
        closing = threading.Thread(target=engine.close)
        closing.start()
        deadline_s = time.monotonic() + TIMEOUT_S
        while engine.is_running:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
    closing.join(TIMEOUT_S)

    assert [type(event) for event in running.wait()] == [Started, Token, AnswerFailed]
    assert [type(event) for event in waiting.wait()] == [AnswerFailed]
    with pytest.raises(CameraFailed, match=r"'gate'.*the device has stopped"):
        engine.add_camera("gate")
    with pytest.raises(AnswerFailed, match="the device has stopped"):
        ask(engine, "lobby", "what is in view")
