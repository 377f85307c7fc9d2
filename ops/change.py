"""What changed between two frames of one camera, cell by cell, whatever the light does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Blocks along each side of a cell: as small as a distant visitor, yet with enough pixels to average noise away.
BLOCKS_PER_CELL_SIDE = 4
MAX_GAIN = 2.0  # a frame that lost more than half of its light shows something else


def block_means(frames: Tensor, rows: int, columns: int) -> Tensor:
    """The mean of each block of each cell. uint8 RGB [F, H, W, 3] -> [F, 3, 4R, 4C], float32"""
    size = (BLOCKS_PER_CELL_SIDE * rows, BLOCKS_PER_CELL_SIDE * columns)
    return F.adaptive_avg_pool2d(frames.permute(0, 3, 1, 2).float(), size)


def gain(blocks: Tensor, before: Tensor) -> Tensor:
    """How much brighter each channel became, by its median block, so up to half of a frame may change meanwhile.

    [3, 4R, 4C] twice -> [3, 1, 1]
    """
    ratios = blocks.clamp(min=1) / before.clamp(min=1)  # of 255; darker blocks are black and say nothing of the light
    return ratios.flatten(1).median(dim=1).values.clamp(1 / MAX_GAIN, MAX_GAIN)[:, None, None]


def cell_changes(blocks: Tensor, before: Tensor) -> Tensor:
    """The largest difference of any block and channel of each cell beyond the gain, in levels of 255.

    [3, 4R, 4C] twice -> [R · C]
    """
    difference = (blocks - gain(blocks, before) * before).abs().amax(dim=0, keepdim=True)
    return F.max_pool2d(difference, BLOCKS_PER_CELL_SIDE).flatten()


def update_reference(before: Tensor, blocks: Tensor, is_new: Tensor) -> Tensor:
    """The new blocks where a cell is new, elsewhere the earlier ones at the new light.

    [3, 4R, 4C] twice, [R · C] -> [3, 4R, 4C]
    """
    cells = is_new.view(-1, before.shape[-1] // BLOCKS_PER_CELL_SIDE)
    by_block = cells.repeat_interleave(BLOCKS_PER_CELL_SIDE, dim=0).repeat_interleave(BLOCKS_PER_CELL_SIDE, dim=1)
    return torch.where(by_block, blocks, gain(blocks, before) * before)
