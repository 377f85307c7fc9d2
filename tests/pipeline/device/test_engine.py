"""The engine of one device: ingest, questions, commands and restores, on its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from cache_store import checkpoint_codec
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline.answers import (
    AnswerFailed,
    Done,
    Gap,
    InvalidQuestion,
    Overloaded,
    Started,
    Token,
    UnknownCamera,
    WarningCode,
)
from pipeline.cameras import CameraExists, TooManyCameras
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.sources.clips import Clip
from tests.conftest import random_frames
from tests.pipeline.device.asking import TIMEOUT_S, EventRecorder, PausingRecorder, ask, paused

MEMORY = MemoryConfig(tokens_per_layer=128, recent_frames=4)
CONFIG = DeviceConfig(max_cameras=2, max_running_questions=2, max_waiting_questions=3, max_answer_tokens=6)


@pytest.fixture
def engine(model: LlavaOnevision) -> Iterator[Engine]:
    engine = Engine(model, MEMORY, CONFIG, clock=lambda: 5_000.0)
    engine.start()
    yield engine
    engine.close()


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


def test_words_that_the_model_does_not_know_come_as_a_warning(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 1)
    started = ask(engine, "lobby", "is there a zeppelin").wait()[0]
    assert isinstance(started, Started)
    assert started.warnings[0].code is WarningCode.UNKNOWN_WORDS
    assert started.warnings[0].words == ("zeppelin",)


@pytest.mark.parametrize(
    ("question", "problem"), [("  ", "empty"), ("car " * 10_000, "39999 characters"), ("a " * 900, "9[0-9]+ tokens")]
)
def test_an_invalid_question_is_refused_at_once(engine: Engine, question: str, problem: str) -> None:
    engine.add_camera("lobby")
    with pytest.raises(InvalidQuestion, match=problem):
        ask(engine, "lobby", question)


def test_an_unknown_camera_is_refused_at_once(engine: Engine) -> None:
    with pytest.raises(UnknownCamera, match="'attic'"):
        ask(engine, "attic", "what is in view")
    with pytest.raises(UnknownCamera):
        engine.remove_camera("attic")


def test_a_question_is_refused_while_as_many_as_may_wait_do(engine: Engine) -> None:
    engine.add_camera("lobby")
    with paused(engine, "lobby"):
        waiting = [ask(engine, "lobby", "what is in view") for _ in range(3)]
        with pytest.raises(Overloaded, match="limit 3"):
            ask(engine, "lobby", "what is in view")
    assert [recorder.done().answer_tokens for recorder in waiting] == [6, 6, 6]
    ask(engine, "lobby", "what is in view").done()


def test_a_cancelled_snapshot_disturbs_no_other_work(engine: Engine) -> None:
    engine.add_camera("gate")
    for _ in range(20):
        engine.snapshot("gate").cancel()

    assert engine.snapshot("gate").result(timeout=20).facts.frames_seen == 0
    assert engine.is_running


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


def test_a_removed_camera_frees_its_slot(engine: Engine) -> None:
    engine.add_camera("lobby")
    engine.add_camera("gate")
    with pytest.raises(TooManyCameras, match="all 2 slots"):
        engine.add_camera("attic")
    with pytest.raises(CameraExists):
        engine.add_camera("gate")
    engine.remove_camera("lobby")
    engine.add_camera("attic")
    assert engine.status("attic").frames_seen == 0


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


def test_a_memory_stays_bounded_and_thumbnails_live_as_long_as_their_tokens(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 30)
    status = engine.status("lobby")
    layers = 6
    assert status.frames_seen == 120
    assert status.compressions >= 10
    assert status.recent_window_tokens == 4 * 16 * layers
    assert status.summary_tier_tokens == (128 - 4 * 16) * layers
    assert status.thumbnails < 120
    saved = engine.snapshot("lobby").result(timeout=20)
    cached_frames = {int(token) // 16 for layer in saved.layers for token in layer.token_ids if token >= 0}
    assert cached_frames == set(saved.thumbnails)


def test_a_time_without_frames_becomes_a_gap(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 1, first_s=1_000.0)
    ingest(engine, "lobby", 1, first_s=1_060.0)
    assert engine.status("lobby").gaps == (Gap(1_001.5, 1_060.0, "no frames"),)


def test_a_camera_comes_back_from_its_checkpoint_on_another_device(engine: Engine, model: LlavaOnevision) -> None:
    engine.add_camera("lobby", started_s=900.0)
    ingest(engine, "lobby", 20)
    saved = engine.snapshot("lobby").result(timeout=20)
    saved = checkpoint_codec.decode([b"".join(checkpoint_codec.encode(saved))], saved.facts, saved.thumbnails)
    other = Engine(model, MEMORY, CONFIG)
    other.start()
    other.add_camera("lobby", saved)
    status = other.status("lobby")
    assert status.frames_seen == 80
    assert status.recent_window_tokens == 0
    assert status.summary_tier_tokens == engine.status("lobby").summary_tier_tokens
    ingest(other, "lobby", 1, first_s=1_100.0)
    assert other.status("lobby").gaps[-1].reason == "restored from a checkpoint"
    assert saved.facts.started_s == 900.0
    ask(other, "lobby", "what came first").done()
    other.close()


def test_a_checkpoint_that_does_not_fit_leaves_no_camera_behind(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 10)
    saved = engine.snapshot("lobby").result(timeout=20)
    wrong = Checkpoint(saved.facts, saved.layers[:3], {})
    with pytest.raises(CheckpointCorrupt, match="3 layers"):
        engine.add_camera("gate", wrong)
    with pytest.raises(UnknownCamera):
        engine.status("gate")
    engine.add_camera("gate")


def test_a_clip_that_fails_on_the_device_costs_its_camera_only(engine: Engine) -> None:
    engine.add_camera("lobby")
    engine.add_camera("gate")
    broken = Clip(
        "lobby",
        torch.zeros(4, 3, 3, 3, dtype=torch.uint8),
        (1.0, 2.0, 3.0, 4.0),
        tuple(torch.zeros(4, 3, 3, 3, dtype=torch.uint8)),
        4.0,
    )
    engine.clips.put(broken)
    ingest(engine, "gate", 2)
    ingest(engine, "lobby", 2)
    assert engine.status("lobby").frames_seen == 8


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
    with pytest.raises(AnswerFailed):
        engine.add_camera("gate")
