"""Training clips: frames of a new scene, labels of their cells, and questions at several frames."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.tiny.network import CELL_SIDE
from models.tiny.scenes.questions import Question, questions_at
from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visits import Visit
from models.tiny.training.labels import CELLS, label_cells, label_events

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


_REPEATED_SHARE = 0.15  # of the groups of a clip that has groups of one frame, repeated, as at the end of a stream
_STARTED_SHARE = 0.6  # of the clips: the stream has run before, so that its times are any
_MAX_START_S = 30_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """What a clip is to be like.

    moments: how many frames have questions. before_weight: factor on the weight of "did the … come before the …".
    is_quiet: the clip is of a long stream with few visitors, and most of its empty frames are left out. grid: rows and
    columns of cells. frames_per_group: how many frames share their tokens.
    """

    frames: int
    interval_s: float
    questions: int
    moments: int = 8
    before_weight: float = 1.0
    is_quiet: bool = False
    grid: tuple[int, int] = (CELLS, CELLS)
    frames_per_group: int = 1


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one scene in groups, labels of each cell, and questions, each with the group that it follows.

    P: cells of the grid; H, W: pixels; F: frames of a group.
    """

    pixels: NDArray[np.uint8]  # [T, H, W, 3]
    groups: NDArray[np.int64]  # [G, F] indices of frames
    cells: NDArray[np.int64]  # [T, P, 2] kind and colour, 0 for none
    centres: NDArray[np.float32]  # [T, P, 2] of what covers the cell, NaN for an empty cell
    events: NDArray[np.int64]  # [G, P, 4] progress and number of that visit; kind and colour of the visitor that left
    questions: list[tuple[int, Question]]
    stream_groups: NDArray[np.int64]  # [G] number of each group in its stream
    times_s: NDArray[np.float64]  # [G] mean time of each group's frames in its stream
    grid: tuple[int, int]


def make_clip(rng: random.Random, options: ClipOptions) -> Clip:
    """A clip of a new scene from its start, with questions at some of its groups."""
    interval_s = options.interval_s
    groups = group_frames(rng, -(-options.frames // options.frames_per_group), options.frames_per_group)
    frames = int(groups[-1, -1]) + 1
    span_s = frames * interval_s
    mean_gap_s = min(_MAX_MEAN_GAP_S, max(0.5, span_s / rng.uniform(2, 18) - 1.5))
    if options.is_quiet:
        mean_gap_s = math.exp(rng.uniform(*map(math.log, _QUIET_GAPS_S)))
    scene = Scene(
        rng.getrandbits(48),
        mean_gap_s=mean_gap_s,
        burst=rng.choice(_BURSTS),
        switch_every_s=span_s * rng.uniform(0.3, 2) if rng.random() < _SWITCHED_SHARE else None,
    )
    stream_frames = None
    if options.is_quiet:
        stream_frames = quiet_frames(rng, scene, frames, interval_s, mean_gap_s)
        times = [frame * interval_s for frame in stream_frames]
    else:
        times = frame_times(rng, frames, interval_s)
    pixels = draw(scene, times, options.grid)
    ends = [times[group[-1]] for group in groups]
    pool = _question_pool(
        scene.visits(times[-1] + 1), ends, rng, moments=options.moments, order_s=max(0.6, 0.8 * interval_s)
    )
    picked = pick_questions(pool, options.questions, rng, options.before_weight)
    clip = labelled(scene, times, _augmented(pixels, rng), groups, picked, options.grid)
    if stream_frames is not None:
        clip = replace(clip, stream_groups=np.array(stream_frames)[groups[:, -1]] // options.frames_per_group)
    if options.frames_per_group > 1 and rng.random() < _STARTED_SHARE:
        clip = replace(clip, times_s=clip.times_s + rng.uniform(0, _MAX_START_S))
    return clip


def draw(scene: Scene, times: Sequence[float], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """The frames at these times, of the size that gives a grid. [T, H, W, 3]"""
    rows, columns = grid
    return np.stack([scene.frame(at_s, columns * CELL_SIDE, rows * CELL_SIDE) for at_s in times])


def labelled(
    scene: Scene,
    times: Sequence[float],
    pixels: NDArray[np.uint8],
    groups: NDArray[np.int64],
    questions: list[tuple[int, Question]],
    grid: tuple[int, int],
) -> Clip:
    """The clip of these frames of a stream that starts at time 0, with its labels."""
    events = label_events(scene, [times[group[-1]] for group in groups], grid)
    cells, centres = label_cells(scene, times, grid)
    means = np.array(times)[groups].mean(axis=1)
    return Clip(pixels, groups, cells, centres, events, questions, np.arange(len(groups)), means, grid)


def group_frames(rng: random.Random, groups: int, size: int) -> NDArray[np.int64]:
    """The frames of each group, in order; some clips have groups of one frame, repeated. [G, size]"""
    if size == 1:
        return np.arange(groups)[:, None]
    share = rng.choice((0.0, 0.0, _REPEATED_SHARE))
    lengths = np.array([1 if rng.random() < share else size for _ in range(groups)])
    starts = np.cumsum(lengths) - lengths
    grouped: NDArray[np.int64] = starts[:, None] + np.arange(size) * (lengths == size)[:, None]
    return grouped


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


def _question_pool(
    visits: Sequence[Visit], times: Sequence[float], rng: random.Random, *, moments: int, order_s: float
) -> list[tuple[int, Question]]:
    """Questions at up to `moments` of the times, the last one included, each with the index of its time."""
    chosen = {len(times) - 1, *rng.sample(range(len(times)), min(moments - 1, len(times)))}
    return [
        (index, question)
        for index in sorted(chosen)
        for question in questions_at(visits, times[index], rng, order_s=order_s, has_paraphrases=True)
    ]


def pick_questions(
    pool: Sequence[tuple[int, Question]], count: int, rng: random.Random, before_weight: float = 1.0
) -> list[tuple[int, Question]]:
    """At most `count` questions, types by their weights as the pool allows, in order of their times."""
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
