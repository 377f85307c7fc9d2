"""How a decoder numbers its tokens, and how a key is rotated by that. Each model has one such object.

A token has one position, which is all that is renumbered. A decoder with several axes (M-RoPE) places a cell of a frame
beside it: row, column and lag are in the token's id and never change, so a frame keeps its shape wherever it moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store import token_ids
from ops import rope

_ROTATIONS_AT_ONCE = 256  # by which the table of rotations grows
TIME, HEIGHT, WIDTH = range(3)


@dataclass(frozen=True, slots=True)
class Advance:
    """Where new tokens are, counted from the next position. offsets: of each token; ends: behind each. [T] twice"""

    offsets: Tensor
    ends: Tensor


class Positions:
    """The positions of one decoder. frequencies: of RoPE, radians per position, one for each pair of rotated channels.

    axes: the axis that each frequency turns with; all with one unless given. Only the first `2 · len(frequencies)`
    channels of a key are rotated. Raises ValueError if there is not one axis for each frequency.
    """

    def __init__(self, frequencies: Sequence[float], axes: Sequence[int] = (), device: str | torch.device = "cpu"):
        if len(axes) not in (0, len(frequencies)):
            raise ValueError(f"axes of {len(axes)} frequencies (the decoder has {len(frequencies)})")
        self.frequency = torch.tensor(list(frequencies), dtype=torch.float32, device=device)
        self.num_axes = 3 if axes else 1
        self._axes = torch.tensor(list(axes) or [TIME] * len(frequencies), device=device)
        self._tables: dict[torch.device, Tensor] = {}  # of rotations

    def coordinates(self, positions: Tensor, ids: Tensor) -> Tensor:
        """The position on each axis of tokens with these ids. [N] twice -> [A, N]"""
        if self.num_axes == 1:
            return positions[None]
        beside = (token_ids.lags_of(ids), token_ids.rows_of(ids), token_ids.columns_of(ids))
        return positions + torch.stack(beside)

    def advance(self, ids: Tensor) -> Advance:
        """The offsets of new tokens with these ids. [T]

        On one axis every token has a position of its own. On three, neighbouring cells share one, and what follows
        them is behind the last row, column and lag.
        """
        if self.num_axes == 1:
            offsets = torch.arange(len(ids), device=ids.device)
            return Advance(offsets, offsets + 1)
        is_cell = token_ids.is_cell(ids)
        starts = ~is_cell | ~is_cell.roll(1)  # each text token, and the first cell of each run
        starts[:1] = True
        run = starts.cumsum(0) - 1
        reach = self.coordinates(torch.zeros_like(ids), ids).amax(dim=0) + 1
        lengths = torch.zeros(int(starts.sum()), dtype=torch.int64, device=ids.device)
        lengths.scatter_reduce_(0, run, reach, "amax")
        ends = lengths.cumsum(0)[run]
        return Advance(ends - lengths[run], ends)

    def rotate(self, keys: Tensor, distance: Tensor) -> Tensor:
        """Keys moved by a distance on each axis, exactly. [H, N, D], [A, N] -> [H, N, D]"""
        device = keys.device
        return rope.rotate(keys, distance[self._axes].mT.to(device), self.frequency.to(device))

    def shift(self, keys: Tensor, distance: Tensor, reach: int) -> Tensor:
        """Keys moved by one distance on all axes, at most `reach` either way. [..., H, N, D], [..., N]"""
        table = self._tables.get(keys.device)
        if table is None or table.shape[0] // 2 < reach:
            rounded = -(-reach // _ROTATIONS_AT_ONCE) * _ROTATIONS_AT_ONCE
            table = self._tables[keys.device] = rope.rotation_table(self.frequency.to(keys.device), rounded)
        return rope.rotate_by(table, keys, distance.to(keys.device))


def section_axes(sections: Sequence[int], *, is_interleaved: bool) -> tuple[int, ...]:
    """The axis of each frequency of M-RoPE. sections: how many frequencies time, height and width have.

    In sections they follow each other; interleaved they take turns, and what is left at the end is time's.
    """
    if not is_interleaved:
        return tuple(axis for axis, length in enumerate(sections) for _ in range(length))
    axes = [TIME] * sum(sections)
    for axis in (HEIGHT, WIDTH):
        for index in range(axis, 3 * sections[axis], 3):
            axes[index] = axis
    return tuple(axes)
