"""The shipped tiny models behind the real engine: right answers, and evidence of the right moments."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cache_store.tiers import MemoryConfig
from models import registry
from models.tiny.scenes.questions import TYPES, Question, questions_at
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import AnswerEvent, Evidence, QuestionError, Token
from pipeline.decoding import images
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.sources.clips import Clip
from tests.pipeline.device.engine_driver import TIMEOUT_S, EventRecorder, ask, paused

SEED, MEAN_GAP_S = 10, 5.0  # of a street of which the shipped model gets every answer right
STARTED_S = 1_700_000_000.0
CLIPS, FRAMES_PER_CLIP, FPS = 20, 4, 2.0
FIRST_ASKED_CLIP = 3
# The least share of evidence that shows what it must. The first model's all does; one frame earlier 85 % would, one
# frame later 43 %. Of the second one's pairs 93 % do, half a second earlier 85 % and a pair later 57 % would: where
# something is, is at times told by a pair in which it stood elsewhere.
SHOWN_SHARES = {"tiny": 0.95, "tiny-qwen3-vl": 0.92}


@pytest.fixture(scope="module", params=["tiny", "tiny-qwen3-vl"])
def shipped(request: pytest.FixtureRequest) -> VideoLanguageModel:
    return registry.load_model(request.param, "cpu")


@dataclass(frozen=True)
class Street:
    """A simulated street and an engine with its camera."""

    scene: Scene
    engine: Engine

    def show(self, number: int) -> float:
        """Appends the clip of this number; returns the time of its last frame since the start."""
        times_s = [(number * FRAMES_PER_CLIP + frame) / FPS for frame in range(FRAMES_PER_CLIP)]
        frames = torch.from_numpy(np.stack([self.scene.frame(time_s, 64, 64) for time_s in times_s]))
        unix_s = tuple(STARTED_S + time_s for time_s in times_s)
        self.engine.clips.put(Clip("street", frames, unix_s, tuple(frames), unix_s[-1]))
        deadline_s = time.monotonic() + TIMEOUT_S
        while self.engine.status("street").newest_s != unix_s[-1]:
            assert time.monotonic() < deadline_s
            self.engine.snapshot("street").result(TIMEOUT_S)
        return times_s[-1]

    def thumbnail(self, time_s: float) -> bytes:
        return images.encode_jpeg(torch.from_numpy(self.scene.frame(time_s, 64, 64)))


@contextmanager
def street(model: VideoLanguageModel, *, is_gated: bool) -> Iterator[Street]:
    engine = Engine(
        model,
        MemoryConfig(tokens_per_layer=448),
        DeviceConfig(max_cameras=2, max_running_questions=3, max_waiting_questions=11, max_queued_clips=8),
    )
    engine.start()
    engine.add_camera("street", is_gated=is_gated)
    try:
        yield Street(Scene(SEED, mean_gap_s=MEAN_GAP_S), engine)
    finally:
        engine.close()


def has_shown(question: Question, time_s: float) -> bool:
    """Whether a frame of this time shows what the answer rests on."""
    return any(start_s <= time_s <= end_s for start_s, end_s in question.evidence)


@pytest.mark.parametrize("is_gated", [True, False], ids=["gated", "whole_frames"])
def test_answers_are_right_and_evidence_shows_what_they_rest_on(shipped: VideoLanguageModel, is_gated: bool) -> None:
    """Every type of question, against the log of the scene; evidence to the frame, with that frame's thumbnail."""
    rng = random.Random(SEED)
    answers: dict[tuple[str, str], tuple[Question, str]] = {}
    first_evidence: list[tuple[Question, float]] = []
    with street(shipped, is_gated=is_gated) as camera:
        for number in range(CLIPS):
            now_s = camera.show(number)
            questions = questions_at(camera.scene.visits(now_s + 1), now_s, rng) if number >= FIRST_ASKED_CLIP else []
            for question in questions:
                if (key := (question.text, question.answer)) in answers:
                    continue
                recorder = ask(camera.engine, "street", question.text)
                answers[key] = (question, recorder.done().answer)
                evidence = [event for event in recorder.events if isinstance(event, Evidence)]
                assert all(one.thumbnail_jpeg == camera.thumbnail(one.time_s - STARTED_S) for one in evidence)
                # What has left is often cited by the first frame without it.
                if question.evidence and question.type != "last_out":
                    first_evidence += [(question, one.time_s - STARTED_S) for one in evidence[:1]]
        compactions = camera.engine.status("street").compactions

    assert {question.type for question, _ in answers.values()} == set(TYPES)
    assert [(question, answer) for question, answer in answers.values() if answer != question.answer] == []
    assert len(first_evidence) > 50
    shown = sum(has_shown(question, time_s) for question, time_s in first_evidence)
    assert shown / len(first_evidence) > SHOWN_SHARES[shipped.spec.name]
    assert compactions > 0


def test_ten_questions_at_once_are_answered_like_ten_in_turn_and_ingest_goes_on(shipped: VideoLanguageModel) -> None:
    with street(shipped, is_gated=True) as camera:
        engine = camera.engine
        engine.add_camera("gate")
        for number in range(8):
            now_s = camera.show(number)
        questions = questions_at(camera.scene.visits(now_s + 1), now_s, random.Random(SEED))[:10]
        in_turn = [content(ask(engine, "street", question.text)) for question in questions]

        with paused(engine, "street"):
            at_once = [ask(engine, "street", question.text) for question in questions]
            last = MemoryReader(engine, "gate")
            engine.ask("street", "what is in view", last.on_event)
            frames = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
            engine.clips.put(Clip("gate", frames, (1.0, 1.5, 2.0, 2.5), tuple(frames), 2.5))
        found = [content(recorder) for recorder in at_once]
        last.wait()

    assert len(questions) == 10
    assert len({question.answer for question in questions}) >= 5
    assert found == in_turn
    assert last.frames_seen == 4


class MemoryReader(EventRecorder):
    """Notes how many frames another camera's memory has seen when the answer ends."""

    def __init__(self, engine: Engine, camera: str) -> None:
        super().__init__()
        self._engine, self._camera = engine, camera

    def on_event(self, event: AnswerEvent | QuestionError) -> None:
        self.frames_seen = self._engine.status(self._camera).frames_seen
        super().on_event(event)


def content(recorder: EventRecorder) -> list[object]:
    """What was answered, without the ids and times of the run and the last bits of weights. Blocks until the end."""
    answer = recorder.done().answer
    evidence = [(event.time_s, event.thumbnail_jpeg) for event in recorder.events if isinstance(event, Evidence)]
    return [answer, *(event for event in recorder.events if isinstance(event, Token)), *evidence]
