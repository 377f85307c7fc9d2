"""The work loop of one device: ingest, questions, commands and restores, on its own thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from cache_store import checkpoint
from cache_store.checkpoint import Checkpoint, CheckpointCorrupt
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline import answers
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
    UnknownCamera,
    WarningCode,
)
from pipeline.cameras import CameraExists, TooManyCameras
from pipeline.decoding import images
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.sources.clips import Clip
from tests.conftest import random_frames

MEMORY = MemoryConfig(tokens_per_layer=128, recent_frames=4)
CONFIG = DeviceConfig(max_cameras=2, max_running_questions=2, max_waiting_questions=3, max_answer_tokens=6)


@pytest.fixture
def device(model: LlavaOnevision) -> Iterator[Engine]:
    running = Engine(model, MEMORY, CONFIG, clock=lambda: 5_000.0)
    running.start()
    yield running
    running.close()


def preview(moment: float) -> torch.Tensor:
    """One that no other moment has."""
    return torch.full((9, 16, 3), int(2 * moment) % 256, dtype=torch.uint8)


def clip(camera: str, first_s: float, num_frames: int = 4, seed: int = 0) -> Clip:
    times = tuple(first_s + offset / 2 for offset in range(num_frames))
    previews = tuple(preview(moment) for moment in times)
    return Clip(camera, random_frames(num_frames, seed), times, previews, received_s=times[-1])


def feed(device: Engine, camera: str, num_clips: int, *, first_s: float = 1_000.0) -> None:
    """Puts clips one by one and waits until the device has read them."""
    for turn in range(num_clips):
        start = first_s + 2 * turn
        device.clips.put(clip(camera, start, seed=turn))
        while device.status(camera).newest_s != start + 1.5:
            device.snapshot(camera).result(timeout=20)


class Heard:
    """What one question brought back."""

    def __init__(self) -> None:
        self.events: list[AnswerEvent | QuestionError] = []
        self._ended = threading.Event()

    def deliver(self, event: AnswerEvent | QuestionError) -> None:
        self.events.append(event)
        if isinstance(event, Done | QuestionError):
            self._ended.set()

    def wait(self) -> list[AnswerEvent | QuestionError]:
        assert self._ended.wait(timeout=60)
        return self.events


def test_a_question_brings_started_tokens_and_done(device: Engine) -> None:
    device.add_camera("lobby")
    feed(device, "lobby", 3)
    heard = Heard()
    device.ask("lobby", "What is in view?", heard.deliver)
    events = heard.wait()
    assert isinstance(events[0], Started)
    assert events[0].memory_as_of_s == 1_005.5
    assert isinstance(events[-1], Done)
    tokens = [event.text for event in events if isinstance(event, Token)]
    assert "".join(tokens) == events[-1].answer
    for event in events:
        if isinstance(event, Evidence):
            assert event.thumbnail_jpeg == images.encode_jpeg(preview(event.time_s))


def test_words_that_the_model_does_not_know_come_as_a_warning(device: Engine) -> None:
    device.add_camera("lobby")
    feed(device, "lobby", 1)
    heard = Heard()
    device.ask("lobby", "is there a zeppelin", heard.deliver)
    started = heard.wait()[0]
    assert isinstance(started, Started)
    assert started.warnings[0].code is WarningCode.UNKNOWN_WORDS
    assert started.warnings[0].words == ("zeppelin",)


@pytest.mark.parametrize(
    ("question", "named"), [("  ", "empty"), ("car " * 10_000, "characters"), ("a " * 900, "900 tokens|[0-9]+ tokens")]
)
def test_an_impossible_question_is_refused_at_once(device: Engine, question: str, named: str) -> None:
    device.add_camera("lobby")
    with pytest.raises(InvalidQuestion, match=named):
        device.ask("lobby", question, Heard().deliver)


def test_an_unknown_camera_is_refused_at_once(device: Engine) -> None:
    with pytest.raises(UnknownCamera, match="'attic'"):
        device.ask("attic", "what is in view", Heard().deliver)
    with pytest.raises(UnknownCamera):
        device.remove_camera("attic")


def test_more_questions_than_may_wait_are_refused(model: LlavaOnevision) -> None:
    idle = Engine(model, MEMORY, CONFIG)
    idle._add("lobby", None, 0.0, None, False)
    for _ in range(3):
        idle.ask("lobby", "what is in view", Heard().deliver)
    with pytest.raises(Overloaded, match="limit 3"):
        idle.ask("lobby", "what is in view", Heard().deliver)


def test_ten_questions_at_once_answer_like_ten_in_turn_and_ingest_goes_on(device: Engine) -> None:
    device.add_camera("lobby")
    device.add_camera("gate")
    feed(device, "lobby", 12)
    texts = ["what is in view", "what came first", "how many cars so far"]
    in_turn = [_answer(device, text) for text in texts]
    at_once = [Heard() for _ in texts]
    for heard, text in zip(at_once, texts, strict=True):
        device.ask("lobby", text, heard.deliver)
        device.clips.put(clip("gate", 2_000.0))
    assert [_last(heard) for heard in at_once] == in_turn


def _answer(device: Engine, text: str) -> str:
    heard = Heard()
    device.ask("lobby", text, heard.deliver)
    return _last(heard)


def _last(heard: Heard) -> str:
    done = heard.wait()[-1]
    assert isinstance(done, Done)
    return done.answer


def test_a_snapshot_that_nobody_waits_for_any_more_hurts_nobody(device: Engine) -> None:
    device.add_camera("gate")
    for _ in range(20):
        device.snapshot("gate").cancel()

    assert device.snapshot("gate").result(timeout=20).facts.frames_seen == 0
    assert device.is_running


def test_a_cancelled_question_frees_its_place(device: Engine) -> None:
    device.add_camera("lobby")
    feed(device, "lobby", 1)
    for _ in range(5):
        device.ask("lobby", "what is in view", Heard().deliver).cancel()
        assert _answer(device, "what is in view") is not None


def test_a_removed_camera_ends_its_questions_and_frees_its_slot(device: Engine) -> None:
    device.add_camera("lobby")
    device.add_camera("gate")
    with pytest.raises(TooManyCameras, match="all 2 slots"):
        device.add_camera("attic")
    with pytest.raises(CameraExists):
        device.add_camera("gate")
    device.remove_camera("lobby")
    device.add_camera("attic")
    assert device.status("attic").frames_seen == 0


def test_memory_stays_bounded_and_pictures_live_as_long_as_their_tokens(device: Engine) -> None:
    device.add_camera("lobby")
    feed(device, "lobby", 30)
    status = device.status("lobby")
    layers = 6
    assert status.frames_seen == 120
    assert status.compressions >= 10
    assert status.recent_window_tokens == 4 * 16 * layers
    assert status.summary_tier_tokens == (128 - 4 * 16) * layers
    assert status.thumbnails < 120
    saved = device.snapshot("lobby").result(timeout=20)
    held = {int(token) // 16 for layer in saved.layers for token in layer.token_ids if token >= 0}
    assert held == set(saved.thumbnails)


def test_a_silence_becomes_a_gap(device: Engine) -> None:
    device.add_camera("lobby")
    feed(device, "lobby", 1, first_s=1_000.0)
    feed(device, "lobby", 1, first_s=1_060.0)
    assert device.status("lobby").gaps == (answers.Gap(1_001.5, 1_060.0, "no frames"),)


def test_a_camera_comes_back_from_its_checkpoint_on_another_device(device: Engine, model: LlavaOnevision) -> None:
    device.add_camera("lobby", started_s=900.0)
    feed(device, "lobby", 20)
    saved = device.snapshot("lobby").result(timeout=20)
    saved = checkpoint.from_pieces([b"".join(checkpoint.to_parts(saved))], saved.facts, saved.thumbnails)
    other = Engine(model, MEMORY, CONFIG)
    other.start()
    other.add_camera("lobby", saved)
    status = other.status("lobby")
    assert status.frames_seen == 80
    assert status.recent_window_tokens == 0
    assert status.summary_tier_tokens == device.status("lobby").summary_tier_tokens
    feed(other, "lobby", 1, first_s=1_100.0)
    assert other.status("lobby").gaps[-1].reason == "restored from a checkpoint"
    assert saved.facts.started_s == 900.0
    heard = Heard()
    other.ask("lobby", "what came first", heard.deliver)
    assert isinstance(heard.wait()[-1], Done)
    other.close()


def test_a_checkpoint_that_does_not_fit_leaves_no_camera_behind(device: Engine) -> None:
    device.add_camera("lobby")
    feed(device, "lobby", 10)
    saved = device.snapshot("lobby").result(timeout=20)
    wrong = Checkpoint(saved.facts, saved.layers[:3], {})
    with pytest.raises(CheckpointCorrupt, match="3 layers"):
        device.add_camera("gate", wrong)
    with pytest.raises(UnknownCamera):
        device.status("gate")
    device.add_camera("gate")


def test_a_clip_that_the_device_cannot_read_hurts_its_camera_only(device: Engine) -> None:
    device.add_camera("lobby")
    device.add_camera("gate")
    broken = Clip(
        "lobby",
        torch.zeros(4, 3, 3, 3, dtype=torch.uint8),
        (1.0, 2.0, 3.0, 4.0),
        tuple(torch.zeros(4, 3, 3, 3, dtype=torch.uint8)),
        4.0,
    )
    device.clips.put(broken)
    feed(device, "gate", 2)
    feed(device, "lobby", 2)
    assert device.status("lobby").frames_seen == 8


def test_closing_ends_every_answer_under_way(model: LlavaOnevision) -> None:
    device = Engine(model, MEMORY, DeviceConfig(max_answer_tokens=1_000, max_cameras=1))
    heard = Heard()
    device.start()
    device.add_camera("lobby")
    device.ask("lobby", "what is in view", heard.deliver)
    device.close()
    assert isinstance(heard.wait()[-1], AnswerFailed | Done)
    with pytest.raises(AnswerFailed):
        device.add_camera("gate")
