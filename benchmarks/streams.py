"""Streams to be asked about: scenes of several characters, and questions at many moments, sorted by what they need."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from models.tiny.scenes import questions
from models.tiny.scenes.questions import Question
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from pipeline.device.change_gate import StaticGate

FRAMES_PER_S = 2.0
FRAMES_PER_STEP = 4
KEY_FRAME_EVERY_S = 30.0
RECENT_S = 16.0  # a fact older than that is past
VISITS = 10  # of a stream, about, however long it is, unless told otherwise: the facts that a memory has to hold
MOMENTS = 6  # of a stream, at which every type of question is asked that is well defined then

_FIRST_SEED = 2**52  # training draws below 2**48, the model's own evaluation above 2**50
_VISITED_SHARE = 0.6  # of the moments somebody is in view, or has just left
_DRAWN_AT_ONCE = 256


class Character(StrEnum):
    """What a stream is like; the streams of a run take turns."""

    STEADY = "steady"
    BURSTS = "bursts"  # visitors come three at a time
    LIGHTS = "lights"  # lamps go off and on


class Need(StrEnum):
    """What an answer needs to know."""

    NOW = "now"
    RECENT = "recent"
    PAST = "past"
    COUNT = "count"
    ORDER = "order"


_NEEDS = {
    **dict.fromkeys(("in_view", "colour_now", "where", "is_there", "count_now"), Need.NOW),
    **dict.fromkeys(("first", "last_in", "last_out", "before", "which_first"), Need.ORDER),
    "count_past": Need.COUNT,
}


@dataclass(frozen=True, slots=True)
class TimedQuestion:
    """A question at a moment. delay_s: since its proof was last seen; None where no moment proves the answer."""

    question: Question
    at_s: float
    need: Need
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class Footage:
    """What one camera shows, as the decoder sees it, [F, P, E], and what a static gate lets pass of it, [F, P]."""

    embedded: Tensor
    passed: Tensor


@dataclass(frozen=True, slots=True)
class Stream:
    """What one camera shows, and what is asked after which frame."""

    seed: int
    character: Character
    footage: Footage
    asked: dict[int, tuple[TimedQuestion, ...]]


def make_stream(
    model: VideoLanguageModel,
    seed: int,
    num_frames: int,
    character: Character | None = None,
    visits: int = VISITS,
) -> Stream:
    """The stream of a seed; its character follows from the seed unless given, its questions come in its second half."""
    character = character or list(Character)[seed % len(Character)]
    rng = random.Random(f"{seed} {num_frames}")
    world = make_scene(seed, character, num_frames, visits)
    asked = dict(sorted(_questions(world, num_frames, rng).items()))
    return Stream(seed, character, film(model, world, num_frames), asked)


def make_scene(seed: int, character: Character, num_frames: int, visits: int = VISITS) -> Scene:
    """About so many visits over the whole stream: the longer it is, the longer the quiet between them."""
    span_s = num_frames / FRAMES_PER_S
    return Scene(
        _FIRST_SEED + 2**20 * seed + num_frames,
        mean_gap_s=max(1.5, span_s / visits - 1.5),
        burst=3 if character is Character.BURSTS else 1,
        switch_every_s=span_s / 4 if character is Character.LIGHTS else None,
    )


def film(model: VideoLanguageModel, world: Scene, num_frames: int) -> Footage:
    """Every frame of a scene from its beginning."""
    side, embedded, passed = model.spec.frame_size, [], []
    entrance = StaticGate(model.spec.tokens_per_frame, key_frame_every_s=KEY_FRAME_EVERY_S)
    for start in range(0, num_frames, _DRAWN_AT_ONCE):
        times_s = [frame / FRAMES_PER_S for frame in range(start, min(start + _DRAWN_AT_ONCE, num_frames))]
        pixels = torch.from_numpy(np.stack([world.frame(at_s, side, side) for at_s in times_s]))
        embedded.append(model.embed_frames(pixels))
        for step in range(0, len(times_s), FRAMES_PER_STEP):
            frames = slice(step, step + FRAMES_PER_STEP)
            passed.append(entrance.admit(pixels[frames], times_s[frames]))
    return Footage(torch.cat(embedded), torch.cat(passed))


def steps(given: Sequence[Tensor]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Streams of one length side by side, step by step: newest frame, [B, T, E], times [B, F]. B × [F, P, E] ->"""
    num_frames = len(given[0])
    for start in range(0, num_frames, FRAMES_PER_STEP):
        frames = torch.arange(start, min(start + FRAMES_PER_STEP, num_frames))
        embedded = torch.stack([stream[frames].flatten(0, 1) for stream in given])
        yield int(frames[-1]), embedded, (frames.double() / FRAMES_PER_S).expand(len(given), -1)


def ask_about(world: Scene, frame: int, rng: random.Random) -> tuple[TimedQuestion, ...]:
    """Every type of question that is well defined at a frame."""
    now_s = frame / FRAMES_PER_S
    found = questions.questions_at(world.visits(now_s + 1), now_s, rng)
    return tuple(_sorted_by_need(question, now_s) for question in found)


def _sorted_by_need(question: Question, now_s: float) -> TimedQuestion:
    delay_s = now_s - max(end_s for _, end_s in question.evidence) if question.evidence else None
    is_recent = delay_s is not None and delay_s <= RECENT_S
    return TimedQuestion(question, now_s, _NEEDS.get(question.type, Need.RECENT if is_recent else Need.PAST), delay_s)


def _questions(world: Scene, num_frames: int, rng: random.Random) -> dict[int, tuple[TimedQuestion, ...]]:
    asked: dict[int, tuple[TimedQuestion, ...]] = {}
    for _ in range(100 * MOMENTS):
        frame = _moment(world, num_frames, rng)
        if frame not in asked and (found := ask_about(world, frame, rng)):
            asked[frame] = found
        if len(asked) == MOMENTS:
            break
    return asked


def _moment(world: Scene, num_frames: int, rng: random.Random) -> int:
    """The last frame of a step in the second half of the stream."""
    end_s = num_frames / FRAMES_PER_S
    visits = [visit for visit in world.visits(end_s) if visit.leave_s > end_s / 2]
    start_s, stop_s = end_s / 2, end_s
    if visits and rng.random() < _VISITED_SHARE:
        visit = rng.choice(visits)
        start_s, stop_s = max(start_s, visit.enter_s), min(stop_s, visit.leave_s + 2)
    frame = int(rng.uniform(start_s, stop_s) * FRAMES_PER_S)
    return min(frame // FRAMES_PER_STEP * FRAMES_PER_STEP + FRAMES_PER_STEP - 1, num_frames - 1)
