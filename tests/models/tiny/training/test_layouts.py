"""Layouts: which tokens of a clip are in a sequence, and at which positions."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.network import CELL_SIDE
from models.tiny.training.architecture import Architecture, Context
from models.tiny.training.architectures import ARCHITECTURES
from models.tiny.training.clips import Clip, group_frames
from models.tiny.training.forgetting import by_chance
from models.tiny.training.layouts import MAX_POSITION, WINDOW_FRAMES, lay_out, reindexed_over_time


def a_context(architecture: Architecture, groups: int) -> Context:
    """Of a clip whose frames nobody looks at."""
    rows, columns = grid = architecture.grids[0]
    frames = group_frames(random.Random(1), groups, architecture.frames_per_group)
    cells = np.zeros((groups, rows * columns, 4), dtype=np.int64)
    pixels = np.zeros((int(frames[-1, -1]) + 1, rows * CELL_SIDE, columns * CELL_SIDE, 3), dtype=np.uint8)
    order = np.arange(groups)
    return architecture.context(Clip(pixels, frames, cells, cells, cells, [], order, order * 1.0, grid))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    groups=st.integers(1, 128),
    keep_share=st.sampled_from([0.15, 0.5, None]),
    has_gaps=st.booleans(),
)
def test_positions_rise_and_leave_room_for_a_question(
    architecture: Architecture, seed: int, groups: int, keep_share: float | None, has_gaps: bool
) -> None:
    rng, context = random.Random(seed), a_context(architecture, groups)

    lasting = None if keep_share is None else by_chance(int((context.video >= 0).sum()), keep_share)
    layout = lay_out(
        rng,
        context,
        [groups // 2],
        prefix=4,
        frames_per_group=architecture.frames_per_group,
        gaps=architecture.position_gaps,
        lasting=lasting,
        has_gaps=has_gaps,
    )

    steps = np.diff(layout.positions)
    same_grid = (np.diff(layout.group) == 0) & (layout.video[1:] >= 0) & (layout.video[:-1] >= 0)
    assert (steps >= 0).all()
    assert (steps[~same_grid] > 0).all()
    assert layout.positions[0] >= 4
    assert layout.positions[-1] < MAX_POSITION - 40


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    gaps=st.lists(st.integers(1, 3000), min_size=1, max_size=300),
    max_position=st.integers(500, 1500),
    max_gap=st.sampled_from([1, 4, 16]),
)
def test_positions_that_run_out_are_reindexed_in_order(
    seed: int, gaps: list[int], max_position: int, max_gap: int
) -> None:
    positions = np.cumsum(gaps)

    moved = reindexed_over_time(random.Random(seed), positions, max_position, max_gap)

    assert (np.diff(moved) > 0).all()
    assert (np.diff(moved) <= np.diff(positions)).all()
    assert moved[-1] < max_position
    if positions[-1] < max_position:
        assert (moved == positions).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), groups=st.integers(1, 64))
def test_the_newest_frames_of_every_question_are_whole(architecture: Architecture, seed: int, groups: int) -> None:
    rng, context = random.Random(seed), a_context(architecture, groups)
    moment, size = rng.randrange(groups), architecture.frames_per_group

    lasting = by_chance(int((context.video >= 0).sum()), 0.2)
    layout = lay_out(rng, context, [moment], prefix=4, frames_per_group=size, lasting=lasting)

    for group in range(max(0, moment - WINDOW_FRAMES // size + 1), moment + 1):
        assert layout.video[layout.group == group].tolist() == context.video[context.group == group].tolist()
