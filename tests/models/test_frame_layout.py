"""The size that frames are reduced to, and the tokens that they get, whatever their shape."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache_store import positions, token_ids
from cache_store.positions import Positions
from models.frame_layout import FrameLayout

FREQUENCIES = [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03]
ONE_AXIS = Positions(FREQUENCIES)
THREE_AXES = Positions(FREQUENCIES, positions.section_axes([2, 2, 2], is_interleaved=True))
NATIVE = FrameLayout(
    positions=THREE_AXES,
    cell=32,
    min_cells=4,
    max_cells=256,
    frames_per_group=2,
    before=lambda time_s: (*map(int, f"{time_s:.0f}"), 7),
    after=(8,),
)
sides = st.integers(1, 10_000)


@given(sides, sides, st.sampled_from([1, 3, 15, 64, 256]))
def test_any_picture_becomes_whole_cells_within_the_cap(width: int, height: int, max_cells: int) -> None:
    layout = dataclasses.replace(NATIVE, min_cells=min(4, max_cells), max_cells=max_cells)
    fitted = layout.frame_fit(width, height)
    rows, columns = layout.grid(*fitted)

    assert fitted == (32 * columns, 32 * rows)
    assert 1 <= rows * columns <= max_cells
    assert layout.frame_fit(height, width) == (fitted[1], fitted[0])  # a tall picture is a wide one, turned


@given(st.integers(64, 8_000), st.integers(64, 8_000))
def test_a_picture_keeps_its_shape_to_a_cell(width: int, height: int) -> None:
    fitted_width, fitted_height = NATIVE.frame_fit(width, height)
    shorter, longer = sorted((fitted_width / width, fitted_height / height))
    slack = 64 / min(fitted_width, fitted_height)
    assert longer / shorter <= 1 + 2 * slack or min(fitted_width, fitted_height) == 32


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((1920, 1080), (672, 384)),
        ((448, 448), (448, 448)),
        ((8192, 8192), (512, 512)),
        ((1, 1), (64, 64)),
        ((100_000, 32), (7232, 32)),
    ],
)
def test_sizes_of_cameras(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert NATIVE.frame_fit(*size) == fitted


def test_a_pair_of_frames_has_its_time_its_cells_and_what_ends_it() -> None:
    """Positions as in Qwen3-VL: cells share one, what follows is behind the longer side."""
    tokens = NATIVE.tokens([10.0, 13.0, 15.0], 0.5, rows=2, columns=3)

    # 11 s: the mean of the pair, since the first frame of the memory.
    assert tokens.words.tolist() == [1, 1, 7, 0, 0, 0, 0, 0, 0, 8, 1, 4, 7, 0, 0, 0, 0, 0, 0, 8]
    assert tokens.is_cell.tolist() == [False] * 3 + [True] * 6 + [False] * 4 + [True] * 6 + [False]
    assert tokens.times_s.tolist() == [13.0] * 10 + [15.0] * 10
    assert tokens.offsets.tolist() == [0, 1, 2, *[3] * 6, 6, 7, 8, 9, *[10] * 6, 13]
    assert tokens.span == 14
    assert token_ids.frames_of(tokens.ids).tolist() == [0] * 10 + [1] * 10
    on_axes = THREE_AXES.coordinates(tokens.offsets, tokens.ids)
    assert on_axes[:, 3:10].tolist() == [[3] * 6 + [6], [3, 3, 3, 4, 4, 4, 6], [3, 4, 5, 3, 4, 5, 6]]


def test_groups_of_one_step_can_be_one_video_with_its_times_on_the_first_axis() -> None:
    layout = FrameLayout(positions=THREE_AXES, cell=32, max_cells=256, frames_per_group=2, positions_per_s=2.0)
    tokens = layout.tokens([4.0, 5.0, 6.0, 7.0, 9.5, 10.0], 0.0, rows=1, columns=2)

    assert tokens.offsets.tolist() == [0] * 6
    assert THREE_AXES.coordinates(tokens.offsets, tokens.ids).tolist() == [
        [0, 0, 4, 4, 11, 11], [0] * 6, [0, 1, 0, 1, 0, 1],
    ]  # fmt: skip
    assert tokens.span == 12


def test_on_one_axis_every_token_has_a_position() -> None:
    layout = FrameLayout(positions=ONE_AXIS, cell=16, max_cells=16, side=64)
    assert layout.tokens([0.0, 0.5], 0.0, 4, 4).offsets.tolist() == list(range(32))
    assert layout.max_positions(3) == layout.max_tokens(3) == 48


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 12), st.floats(0, 1e8))
def test_no_step_has_more_tokens_or_positions_than_the_layout_says(
    num_frames: int, rows: int, columns: int, first_s: float
) -> None:
    tokens = NATIVE.tokens([first_s + index for index in range(num_frames)], 0.0, rows, columns)
    assert len(tokens) <= NATIVE.max_tokens(num_frames)
    assert tokens.span <= NATIVE.max_positions(num_frames)
    assert bool((tokens.offsets.diff() >= 0).all())
    assert bool((tokens.ids.diff() != 0).all())


@given(st.lists(st.floats(-1e6, 1e9), min_size=1, max_size=9), st.integers(1, 16), st.integers(1, 16))
def test_one_video_a_step_stays_within_its_positions_whatever_its_times(
    times_s: list[float], rows: int, columns: int
) -> None:
    """A camera that sends a frame now and then, or whose clock is set back."""
    layout = dataclasses.replace(NATIVE, positions_per_s=2.0, before=lambda _: (7,))
    tokens = layout.tokens(times_s, 0.0, rows, columns)

    assert tokens.span <= layout.max_positions(len(times_s))
    assert int(tokens.is_cell.sum()) == rows * columns * layout.num_groups(len(times_s))
    assert token_ids.frames_of(tokens.ids[tokens.is_cell]).diff().ge(0).all()


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_frames_of_groups_are_those_whose_group_admits_a_cell(is_changed: list[bool]) -> None:
    admitted = torch.tensor(is_changed)[:, None].expand(-1, 6)
    by_group = NATIVE.by_group(admitted)
    frames = NATIVE.frames_of_groups(by_group.any(dim=1), len(is_changed))

    expected = [any(is_changed[index // 2 * 2 : index // 2 * 2 + 2]) for index in range(len(is_changed))]
    assert frames.tolist() == expected


def test_a_lag_beyond_what_an_id_holds_changes_neither_frame_nor_place() -> None:
    ids = token_ids.cells(torch.tensor([3]), 2, 2, torch.tensor([10**9]))
    assert token_ids.frames_of(ids).tolist() == [[3] * 4]
    assert token_ids.is_cell(ids).all()
    assert token_ids.lags_of(ids).tolist() == [[token_ids.MAX_LAG - 1] * 4]


def test_ids_of_the_version_before_name_the_same_frames_and_cells() -> None:
    dense = torch.tensor([0, 5, 16 * 3 + 15, -1, -7])
    ids = token_ids.from_dense(dense, 4, 4)
    assert token_ids.frames_of(ids)[:3].tolist() == [0, 0, 3]
    assert token_ids.rows_of(ids)[:3].tolist() == [0, 1, 3]
    assert token_ids.columns_of(ids)[:3].tolist() == [0, 1, 3]
    assert ids[3:].tolist() == [-1, -7]
    assert torch.equal(ids[2:3], token_ids.cells(torch.tensor([3]), 4, 4)[0, 15:])
