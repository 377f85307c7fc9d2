"""What the id of a cached token says: its frame, and its place there. No other module takes an id apart.

An id is `frame << 31 | place`, negative for a summary. The frame is the number of what the vision encoder reads as one:
a frame, or a group of frames. A place is that of a cell, its row, its column and its lag, or that of a token of text.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SIDE_BITS, _LAG_BITS = 9, 12
_LAG_SHIFT = 2 * _SIDE_BITS
_TEXT_SHIFT = _LAG_SHIFT + _LAG_BITS
_FRAME_SHIFT = _TEXT_SHIFT + 1
MAX_SIDE, MAX_LAG = 1 << _SIDE_BITS, 1 << _LAG_BITS  # rows, columns and lags are below


def first_of(frame: int) -> int:
    """The lowest id of a frame: tokens of this frame and of later ones have it or a higher one."""
    return frame << _FRAME_SHIFT


def cells(frames: Tensor, rows: int, columns: int, lags: Tensor | None = None) -> Tensor:
    """The ids of all cells of frames, row by row. lags: see `lags_of`, one a frame. [F] -> [F, rows · columns]"""
    assert max(rows, columns) <= MAX_SIDE, (rows, columns)
    places = (torch.arange(rows)[:, None] << _SIDE_BITS | torch.arange(columns)).flatten()
    starts = frames << _FRAME_SHIFT
    if lags is not None:
        starts = starts | lags.clamp(max=MAX_LAG - 1) << _LAG_SHIFT
    return starts[:, None] | places


def text(frame: int, length: int, first: int = 0) -> Tensor:
    """The ids of tokens of text of a frame, counted from `first`. -> [T]"""
    return frame << _FRAME_SHIFT | 1 << _TEXT_SHIFT | torch.arange(first, first + length)


def frames_of(ids: Tensor) -> Tensor:
    """The frame of each token, negative for a summary. [N] -> [N]"""
    return ids >> _FRAME_SHIFT


def is_cell(ids: Tensor) -> Tensor:
    """Which tokens are cells of a frame, neither text nor summaries. [N] -> [N]"""
    return (ids >= 0) & (ids >> _TEXT_SHIFT & 1 == 0)


def rows_of(ids: Tensor) -> Tensor:
    """The row of each cell; of other tokens 0. [N] -> [N]"""
    return (ids >> _SIDE_BITS & MAX_SIDE - 1) * is_cell(ids)


def columns_of(ids: Tensor) -> Tensor:
    """The column of each cell; of other tokens 0. [N] -> [N]"""
    return (ids & MAX_SIDE - 1) * is_cell(ids)


def lags_of(ids: Tensor) -> Tensor:
    """How far each cell is in time behind the first cell of its video, in positions; of other tokens 0. [N] -> [N]"""
    return (ids >> _LAG_SHIFT & MAX_LAG - 1) * is_cell(ids)


def from_dense(ids: Tensor, rows: int, columns: int) -> Tensor:
    """Ids of the version before, frame · rows · columns + cell, as those of this one. [N] -> [N]"""
    cell = ids % (rows * columns)
    frames = ids.div(rows * columns, rounding_mode="floor")
    found = frames << _FRAME_SHIFT | cell.div(columns, rounding_mode="floor") << _SIDE_BITS | cell % columns
    return torch.where(ids < 0, ids, found)
