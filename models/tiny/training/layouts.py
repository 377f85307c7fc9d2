"""Which tokens of a clip are in a packed sequence, and their positions: the whole video, or a bounded memory of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.tiny.network import RELIABLE_POSITIONS
from models.tiny.training.architecture import Context
from ops.positions import reindex

WINDOW_FRAMES = 4  # the recent window: the newest frames, always whole
MAX_POSITION = 4096

_SPARE_POSITIONS = 64
_RANKS_SHARE = 0.25  # of the bounded memories: positions without gaps
_UNMOVED_SHARE = 0.25  # of the others: positions are not renumbered
_MAX_POSITIONS = (500, RELIABLE_POSITIONS)  # range of the position at which they are


@dataclass(frozen=True, slots=True)
class Layout:
    """The tokens of one clip's video in a sequence: as in Context, and whether each outlasts the recent window."""

    video: NDArray[np.int64]  # [N]
    text: NDArray[np.int64]  # [N]
    group: NDArray[np.int64]  # [N]
    is_kept: NDArray[np.bool_]  # [N]
    positions: NDArray[np.int64]  # [N]


def lay_out(
    rng: random.Random,
    context: Context,
    question_groups: Sequence[int],
    *,
    prefix: int,
    frames_per_group: int = 1,
    gaps: Sequence[int] = (16,),
    lasting: NDArray[np.float64] | None = None,
    has_gaps: bool = False,
) -> Layout:
    """Which tokens are in the sequence, and their positions.

    lasting: the probability that a bounded memory keeps each video token. Evicted tokens are in the sequence only
    if they are in the recent window of some question. Positions are renumbered when they run out, as in the product,
    with one of the `gaps`, or to ranks. None: the whole video. has_gaps: positions of a whole video jump.
    """
    noise = np.random.default_rng(rng.getrandbits(32))
    groups = int(context.group[-1]) + 1
    is_kept = np.ones(len(context.group), dtype=bool) if lasting is None else _kept(noise, context, lasting)
    is_new = np.zeros(groups, dtype=bool)
    for moment in set(question_groups) | {groups - 1}:
        is_new[max(0, moment - WINDOW_FRAMES // frames_per_group + 1) : moment + 1] = True
    there = np.flatnonzero(is_kept | is_new[context.group])
    group, unbounded = context.group[there], context.positions[there]
    positions = prefix + (unbounded if lasting is None else _bounded_positions(rng, unbounded, gaps))
    if has_gaps and lasting is None:
        positions = positions + _jumps(noise, groups, MAX_POSITION - _SPARE_POSITIONS - int(positions[-1]))[group]
    return Layout(context.video[there], context.text[there], group, is_kept[there], positions)


def _kept(noise: np.random.Generator, context: Context, lasting: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a bounded memory keeps each token. Text of a group is kept with any of its video tokens, by chance, or
    never. [M]
    """
    is_video = context.video >= 0
    is_kept = np.zeros(len(context.video), dtype=bool)
    is_kept[is_video] = noise.random(int(is_video.sum())) < lasting
    if not is_video.all():
        share = noise.choice((noise.uniform(), 1.0, 0.0))
        has_video = np.bincount(context.group[is_kept], minlength=int(context.group[-1]) + 1) > 0
        is_kept |= ~is_video & has_video[context.group] & (noise.random(len(is_video)) < share)
    return is_kept


def _bounded_positions(rng: random.Random, unbounded: NDArray[np.int64], gaps: Sequence[int]) -> NDArray[np.int64]:
    """Positions of the tokens of a bounded memory, from 0 on. [N] -> [N]"""
    ranks = np.unique(unbounded, return_inverse=True)[1]
    if rng.random() < _RANKS_SHARE:
        return ranks
    is_unmoved = rng.random() < _UNMOVED_SHARE
    max_position = MAX_POSITION - _SPARE_POSITIONS if is_unmoved else int(rng.uniform(*_MAX_POSITIONS))
    max_gap = gaps[0] if len(gaps) == 1 else rng.choice(gaps)
    return reindexed_over_time(rng, unbounded, max(max_position, 2 * int(ranks[-1] + 1)), max_gap)


def reindexed_over_time(
    rng: random.Random, positions: NDArray[np.int64], max_position: int, max_gap: int
) -> NDArray[np.int64]:
    """The positions after a memory was reindexed each time that its next position reached `max_position`. [N] -> [N]

    Tokens may share a position. max_gap: see ops.positions.reindex.

    A long quiet time has several reindexings, so the distance to the first token after it is drawn at random.
    """
    moved = positions.copy()
    while moved[-1] >= max_position:
        new = int(np.searchsorted(moved, max_position))
        last, jump = -1, int(moved[new]) + 1
        if new:
            before, jump = [torch.from_numpy(moved[:new])], int(moved[new] - moved[new - 1])
            span = max_position * 3 // 4
            reindexed = reindex(before, first=0, max_span=span, max_gap=max_gap, recent_from=max_position)
            moved[:new] = reindexed[0].numpy()
            last = int(moved[new - 1])
        moved[new:] += last + min(jump, rng.randint(1, max_position - 1 - last)) - moved[new]
    return moved


def _jumps(noise: np.random.Generator, groups: int, max_total: int) -> NDArray[np.int64]:
    """How far the positions of each group are moved on: a few large jumps, or many small ones. [G]"""
    total = float(noise.uniform(0, 1)) ** 1.5 * max(0, max_total)
    steps = noise.exponential(1, groups) * (noise.random(groups) < noise.choice([0.1, 0.5, 1.0]))
    steps[0] *= noise.random() < 0.3
    moved: NDArray[np.int64] = np.floor(np.cumsum(steps) / max(steps.sum(), 1e-6) * total).astype(np.int64)
    return moved
