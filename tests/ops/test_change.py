"""Change between two frames: a change of light is none; a change of a cell is found in that cell alone."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ops import change
from ops.change import BLOCKS_PER_CELL_SIDE, MAX_GAIN

CELLS = 4
SIDE = CELLS * BLOCKS_PER_CELL_SIDE

seeds = st.integers(0, 10_000)
gains = st.lists(st.floats(1 / MAX_GAIN, MAX_GAIN), min_size=3, max_size=3)
cells = st.integers(0, CELLS**2 - 1)


def blocks_of(seed: int) -> Tensor:
    """Blocks of a frame that stays within 0..255 at any gain. [3, W, W]"""
    return 20 + 100 * torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def of_cell(cell: int) -> tuple[slice, slice]:
    row, column = divmod(cell, CELLS)
    return tuple(slice(BLOCKS_PER_CELL_SIDE * at, BLOCKS_PER_CELL_SIDE * (at + 1)) for at in (row, column))  # type: ignore[return-value]


@given(seeds, gains)
def test_a_change_of_light_is_no_change(seed: int, by_channel: list[float]) -> None:
    before, light = blocks_of(seed), torch.tensor(by_channel)[:, None, None]

    assert torch.allclose(change.gain(light * before, before), light, rtol=1e-4)
    assert change.cell_changes(light * before, before).max() < 0.01


@given(seeds, gains, cells, st.floats(1, 60), st.integers(0, 15), st.integers(0, 2))
def test_one_block_of_one_channel_changes_its_cell_alone_in_any_light(
    seed: int, by_channel: list[float], cell: int, by: float, block: int, channel: int
) -> None:
    before = blocks_of(seed)
    blocks = torch.tensor(by_channel)[:, None, None] * before
    rows, columns = of_cell(cell)
    blocks[channel, rows.start + block // 4, columns.start + block % 4] += by

    changes = change.cell_changes(blocks, before)

    assert int(changes.argmax()) == cell
    assert abs(float(changes[cell]) - by) < 0.1 * by + 0.5
    assert float(changes.sort().values[-2]) < 0.1 * by + 0.5


@given(seeds, st.floats(2.5, 100))
def test_a_frame_that_loses_most_of_its_light_has_changed_everywhere(seed: int, times: float) -> None:
    before = blocks_of(seed)

    assert change.cell_changes(before / times, before).min() > 1


@given(seeds, seeds, gains, st.sets(cells))
def test_an_updated_reference_has_the_new_blocks_in_new_cells_and_the_old_ones_at_the_new_light_elsewhere(
    seed: int, other: int, by_channel: list[float], new: set[int]
) -> None:
    before = blocks_of(seed)
    blocks = torch.tensor(by_channel)[:, None, None] * before
    for cell in new:
        rows, columns = of_cell(cell)
        blocks[:, rows, columns] = blocks_of(other)[:, rows, columns]
    is_new = torch.tensor([cell in new for cell in range(CELLS**2)])

    reference = change.update_reference(before, blocks, is_new)

    for cell in range(CELLS**2):
        rows, columns = of_cell(cell)
        expected = blocks if cell in new else change.gain(blocks, before) * before
        assert torch.equal(reference[:, rows, columns], expected[:, rows, columns])


@given(seeds, st.sampled_from([(64, 4), (384, 14), (30, 4)]))
def test_block_means_are_means_of_the_blocks(seed: int, shape: tuple[int, int]) -> None:
    side, cells_per_side = shape
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=generator)

    blocks = change.block_means(frames, cells_per_side, cells_per_side)

    assert blocks.shape == (2, 3, BLOCKS_PER_CELL_SIDE * cells_per_side, BLOCKS_PER_CELL_SIDE * cells_per_side)
    if side % blocks.shape[-1] == 0:
        step = side // blocks.shape[-1]
        assert torch.allclose(blocks[0, :, 0, 0], frames[0, :step, :step].float().mean(dim=(0, 1)), atol=1e-3)
        assert torch.allclose(blocks.mean(dim=(2, 3)), frames.float().mean(dim=(1, 2)), atol=1e-2)
