"""The streams of a benchmark: scenes of several characters, with questions at many frames, classified by need."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from models.embeddings import Embeddings
from models.frame_encoder import EncodedFrames
from models.tiny.scenes import questions
from models.tiny.scenes.questions import Question
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from pipeline.device.change_gate import StaticGate

FRAMES_PER_S = 2.0
FRAMES_PER_STEP = 4
KEY_FRAME_EVERY_S = 30.0
RECENT_S = 16.0  # an older fact is past
VISITS = 10  # about so many in a stream of any length: the facts that a memory must keep
QUESTION_FRAMES = 6  # of a stream; at each, every type of question is asked that is well defined

_FIRST_SEED = 2**52  # training draws below 2**48, the model's own evaluation above 2**50
_VISITED_SHARE = 0.6  # of the question frames: a visitor is in view, or has just left
_FRAMES_AT_ONCE = 256


class Character(StrEnum):
    """The kind of a stream. The streams of a run alternate."""

    STEADY = "steady"
    BURSTS = "bursts"  # visitors come three at a time
    LIGHTS = "lights"  # lamps go off and on


class Need(StrEnum):
    """What an answer depends on."""

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
    """A question at a time. delay_s: since its evidence was last visible; None where no frame proves the answer."""

    question: Question
    at_s: float
    need: Need
    delay_s: float | None

    @property
    def text(self) -> str:
        return self.question.text


@dataclass(frozen=True, slots=True)
class Footage:
    """All frames of one camera. cells: [G, P, E]; passed: which cells a static gate lets pass, bool [F, P]."""

    cells: Embeddings
    rows: int
    columns: int
    passed: Tensor

    @property
    def num_frames(self) -> int:
        return len(self.passed)


@dataclass(frozen=True, slots=True)
class Stream:
    """All frames of one camera, and the questions that are asked after a frame."""

    seed: int
    character: Character
    footage: Footage
    questions: dict[int, tuple[TimedQuestion, ...]]


def make_stream(
    model: VideoLanguageModel,
    seed: int,
    num_frames: int,
    character: Character | None = None,
    visits: int = VISITS,
) -> Stream:
    """The stream of a seed. Its character follows from the seed by default; its questions are in its second half."""
    character = character or list(Character)[seed % len(Character)]
    rng = random.Random(f"{seed} {num_frames}")
    scene = make_scene(seed, character, num_frames, visits)
    questions_by_frame = dict(sorted(_questions(scene, num_frames, rng).items()))
    return Stream(seed, character, film(model, scene, num_frames), questions_by_frame)


def make_scene(seed: int, character: Character, num_frames: int, visits: int = VISITS) -> Scene:
    """A scene with about `visits` visits over the whole stream, so a longer stream has longer gaps between them."""
    span_s = num_frames / FRAMES_PER_S
    return Scene(
        _FIRST_SEED + 2**20 * seed + num_frames,
        mean_gap_s=max(1.5, span_s / visits - 1.5),
        burst=3 if character is Character.BURSTS else 1,
        switch_every_s=span_s / 4 if character is Character.LIGHTS else None,
    )


def film(model: VideoLanguageModel, scene: Scene, num_frames: int) -> Footage:
    """Every frame of a scene from its start, embedded."""
    layout, cells, passed = model.spec.layout, [], []
    side = layout.square
    gate = StaticGate(layout.grid, key_frame_every_s=KEY_FRAME_EVERY_S)
    for start in range(0, num_frames, _FRAMES_AT_ONCE):
        times_s = [frame / FRAMES_PER_S for frame in range(start, min(start + _FRAMES_AT_ONCE, num_frames))]
        pixels = torch.from_numpy(np.stack([scene.frame(at_s, side, side) for at_s in times_s]))
        cells.append(model.embed_frames(layout.group(pixels)))
        for step in range(0, len(times_s), FRAMES_PER_STEP):
            frames = slice(step, step + FRAMES_PER_STEP)
            passed.append(gate.admit(pixels[frames], times_s[frames]))
    whole = Embeddings(
        torch.cat([part.tokens for part in cells]),
        tuple(map(torch.cat, zip(*[part.deep for part in cells], strict=True))),
    )
    return Footage(whole, *layout.grid(side, side), torch.cat(passed))


def steps(footages: Sequence[Footage]) -> Iterator[tuple[int, list[EncodedFrames], Tensor]]:
    """Streams of one length, step by step: the newest frame, the encoded frames, and their times [B, F]."""
    first = footages[0]
    frames_per_group = -(-first.num_frames // len(first.cells.tokens))
    for start in range(0, first.num_frames, FRAMES_PER_STEP):
        frames = torch.arange(start, min(start + FRAMES_PER_STEP, first.num_frames))
        groups = torch.unique(frames // frames_per_group)
        cells = [footage.cells.map(lambda part: part[groups].flatten(0, 1)) for footage in footages]  # noqa: B023
        encoded = [EncodedFrames(of_stream, first.rows, first.columns) for of_stream in cells]
        yield int(frames[-1]), encoded, (frames.double() / FRAMES_PER_S).expand(len(footages), -1)


def ask_about(scene: Scene, frame: int, rng: random.Random) -> tuple[TimedQuestion, ...]:
    """Every type of question that is well defined at a frame."""
    now_s = frame / FRAMES_PER_S
    well_defined = questions.questions_at(scene.visits(now_s + 1), now_s, rng)
    return tuple(_timed(question, now_s) for question in well_defined)


def _timed(question: Question, now_s: float) -> TimedQuestion:
    delay_s = now_s - max(end_s for _, end_s in question.evidence) if question.evidence else None
    is_recent = delay_s is not None and delay_s <= RECENT_S
    return TimedQuestion(question, now_s, _NEEDS.get(question.type, Need.RECENT if is_recent else Need.PAST), delay_s)


def _questions(scene: Scene, num_frames: int, rng: random.Random) -> dict[int, tuple[TimedQuestion, ...]]:
    questions_by_frame: dict[int, tuple[TimedQuestion, ...]] = {}
    for _ in range(100 * QUESTION_FRAMES):
        frame = _question_frame(scene, num_frames, rng)
        if frame not in questions_by_frame and (at_frame := ask_about(scene, frame, rng)):
            questions_by_frame[frame] = at_frame
        if len(questions_by_frame) == QUESTION_FRAMES:
            break
    return questions_by_frame


def _question_frame(scene: Scene, num_frames: int, rng: random.Random) -> int:
    """The last frame of a step in the second half of the stream."""
    end_s = num_frames / FRAMES_PER_S
    visits = [visit for visit in scene.visits(end_s) if visit.leave_s > end_s / 2]
    start_s, stop_s = end_s / 2, end_s
    if visits and rng.random() < _VISITED_SHARE:
        visit = rng.choice(visits)
        start_s, stop_s = max(start_s, visit.enter_s), min(stop_s, visit.leave_s + 2)
    frame = int(rng.uniform(start_s, stop_s) * FRAMES_PER_S)
    return min(frame // FRAMES_PER_STEP * FRAMES_PER_STEP + FRAMES_PER_STEP - 1, num_frames - 1)
