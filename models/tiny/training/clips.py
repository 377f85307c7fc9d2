"""Training clips: frames of a new scene, labels of their cells, and questions at several frames."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.tiny.network import FRAME_SIDE
from models.tiny.scenes.questions import Question, questions_at
from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visits import Visit
from models.tiny.training.labels import label_cells, label_events

_TYPE_WEIGHTS = {
    "in_view": 1.6,
    "where": 1.2,
    "is_there": 1.3,
    "last_in": 1.8,
    "last_out": 2.2,
    "appeared": 1.4,
    "colour_past": 1.3,
    "count_past": 2.5,
    "before": 1.6,
    "which_first": 1.4,
}
_MAX_MEAN_GAP_S = 12.0
_BURSTS = (1, 1, 1, 2, 3)
_SWITCHED_SHARE = 0.25  # of the clips
_QUIET_GAPS_S = (8.0, 300.0)  # range of the mean gap of a quiet stream
_RUN_FRAMES = 4  # a clip of a quiet stream has or lacks this many frames at a time


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one scene, labels of each cell, and questions with the frame that each belongs to."""

    pixels: NDArray[np.uint8]  # [T, 64, 64, 3]
    cells: NDArray[np.int64]  # [T, 16, 2] kind and colour, 0 for none
    centres: NDArray[np.float32]  # [T, 16, 2] of what covers the cell, NaN for an empty cell
    events: NDArray[np.int64]  # [T, 16, 4] progress and number of that visit; kind and colour of the visitor that left
    questions: list[tuple[int, Question]]
    stream_frames: NDArray[np.int64]  # [T] number of each frame in its stream


def make_clip(
    rng: random.Random,
    *,
    frames: int,
    interval_s: float,
    questions: int,
    moments: int = 8,
    before_weight: float = 1.0,
    is_quiet: bool = False,
) -> Clip:
    """A clip of a new scene from its start, with questions at `moments` of its frames.

    before_weight: factor on the weight of "did the … come before the …". is_quiet: the clip is of a long stream with
    few visitors, and most of its empty frames are left out.
    """
    span_s = frames * interval_s
    mean_gap_s = min(_MAX_MEAN_GAP_S, max(0.5, span_s / rng.uniform(2, 18) - 1.5))
    if is_quiet:
        mean_gap_s = math.exp(rng.uniform(*map(math.log, _QUIET_GAPS_S)))
    scene = Scene(
        rng.getrandbits(48),
        mean_gap_s=mean_gap_s,
        burst=rng.choice(_BURSTS),
        switch_every_s=span_s * rng.uniform(0.3, 2) if rng.random() < _SWITCHED_SHARE else None,
    )
    if is_quiet:
        stream_frames = quiet_frames(rng, scene, frames, interval_s, mean_gap_s)
        times = [frame * interval_s for frame in stream_frames]
    else:
        stream_frames, times = list(range(frames)), frame_times(rng, frames, interval_s)
    pixels = np.stack([scene.frame(at_s, FRAME_SIDE, FRAME_SIDE) for at_s in times])
    pool = question_pool(scene.visits(times[-1] + 1), times, rng, moments=moments, order_s=max(0.6, 0.8 * interval_s))
    picked = pick_questions(pool, questions, rng, before_weight)
    augmented, events = _augmented(pixels, rng), label_events(scene, times)
    return Clip(augmented, *label_cells(scene, times), events, picked, np.array(stream_frames))


def quiet_frames(rng: random.Random, scene: Scene, frames: int, interval_s: float, mean_gap_s: float) -> list[int]:
    """Numbers of the frames of a steady stream that a clip has: runs with a visitor in view, and some of the others."""
    share = min(1.0, rng.uniform(0.1, 2.0) * 8.0 / mean_gap_s)
    chosen: list[int] = []
    start = 0
    while len(chosen) < frames:
        run = range(start, start + _RUN_FRAMES)
        if rng.random() < share or any(scene.visible(frame * interval_s) for frame in run):
            chosen += run
        start += _RUN_FRAMES
    return chosen[:frames]


def frame_times(rng: random.Random, frames: int, interval_s: float) -> list[float]:
    """Times of sampled frames: a steady rate, some jitter, and a lost frame now and then."""
    step_s = rng.uniform(max(0.45, 0.75 * interval_s), interval_s)
    loss = rng.choice((0.0, 0.0, 0.03)) if step_s < 0.7 else 0.0
    now_s, times = rng.uniform(0, 0.5), []
    for _ in range(frames):
        times.append(now_s + rng.uniform(-0.05, 0.05) * step_s)
        now_s += step_s * (2 if rng.random() < loss else 1)
    return [max(0.0, moment) for moment in times]


def question_pool(
    visits: Sequence[Visit], times: Sequence[float], rng: random.Random, *, moments: int, order_s: float
) -> list[tuple[int, Question]]:
    """Questions at up to `moments` frames, the last one included, each with its frame."""
    chosen = {len(times) - 1, *rng.sample(range(len(times)), min(moments - 1, len(times)))}
    return [
        (index, question)
        for index in sorted(chosen)
        for question in questions_at(visits, times[index], rng, order_s=order_s, has_paraphrases=True)
    ]


def pick_questions(
    pool: Sequence[tuple[int, Question]], count: int, rng: random.Random, before_weight: float = 1.0
) -> list[tuple[int, Question]]:
    """At most `count` questions, types by their weights as the pool allows, in order of their frames."""
    by_type: dict[str, list[tuple[int, Question]]] = {}
    for item in rng.sample(pool, len(pool)):
        by_type.setdefault(item[1].type, []).append(item)
    picked: list[tuple[int, Question]] = []
    weights = {name: _TYPE_WEIGHTS.get(name, 1.0) * (before_weight if name == "before" else 1.0) for name in by_type}
    while by_type and len(picked) < count:
        types = list(by_type)
        type_ = rng.choices(types, [weights[name] for name in types])[0]
        picked.append(by_type[type_].pop())
        if not by_type[type_]:
            del by_type[type_]
    return sorted(picked, key=lambda item: item[0])


def _augmented(pixels: NDArray[np.uint8], rng: random.Random) -> NDArray[np.uint8]:
    """Other gains, blur and noise, as from cameras, codecs and resizing."""
    noise = np.random.default_rng(rng.getrandbits(32))
    changed = pixels.astype(np.float32)
    if rng.random() < 0.5:
        amount = rng.uniform(0.0, 0.35)
        for axis in (1, 2):
            around = (np.roll(changed, 1, axis) + np.roll(changed, -1, axis)) / 2
            changed += amount * (around - changed)
    changed *= noise.uniform(0.95, 1.05, 3).astype(np.float32) * rng.uniform(0.88, 1.12)
    changed += rng.uniform(-6, 6)
    if rng.random() < 0.4:
        changed += noise.standard_normal(changed.shape, dtype=np.float32) * rng.uniform(0.5, 4)
    return np.clip(changed, 0, 255).astype(np.uint8)
