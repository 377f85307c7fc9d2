"""Which tokens a step of frames has: cells, and the text between them. No other module counts them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store import token_ids
from cache_store.positions import Positions
from models.frame_fit import FrameFit

_UNTIMED_KEPT = 64  # steps of text without times differ in their numbers of frames and in their sizes alone
_FAR_S = 1e8  # three years: no text of a time is longer than that of this one


@dataclass(frozen=True, slots=True)
class FrameTokens:
    """The tokens of one step of frames, in their order, on the CPU. [T] each

    ids: see `token_ids`, counted from the memory's next frame. words: the vocabulary id of a token of text, 0 for a
    cell. times_s: of the token's frame, Unix seconds. offsets and ends: see `Advance`.
    """

    ids: Tensor
    words: Tensor
    times_s: Tensor
    offsets: Tensor
    ends: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_cell(self) -> Tensor:
        return token_ids.is_cell(self.ids)

    @property
    def span(self) -> int:
        """How many positions the step takes."""
        return int(self.ends[-1]) if len(self) else 0

    @property
    def group_sizes(self) -> list[int]:
        """How many of the tokens each group has."""
        counts: list[int] = token_ids.frames_of(self.ids).bincount().tolist()
        return counts

    def at(self, indices: Tensor) -> FrameTokens:
        """The tokens at these indices, where they are among all. [K]"""
        return FrameTokens(*[getattr(self, field.name)[indices] for field in dataclasses.fields(self)])


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLayout:
    """How one model divides frames into tokens. Whatever their pixels, a group of frames has at most `max_cells`.

    frames_per_group: frames that the vision encoder reads as one, at most. cell: pixels of a cell's side. side: of the
    squares that every frame is reduced to; None where frames keep their shape. min_cells: of a frame that is smaller.
    before, after: the text around the cells of a group, by its time in seconds since the memory's first frame.
    positions_per_s: of M-RoPE with absolute time; a step is then one video, with its text around all of its groups.
    """

    positions: Positions
    cell: int
    max_cells: int
    min_cells: int = 1
    side: int | None = None
    frames_per_group: int = 1
    before: Callable[[float], tuple[int, ...]] = lambda _: ()
    after: tuple[int, ...] = ()
    positions_per_s: float | None = None

    @property
    def frame_fit(self) -> FrameFit:
        """To which size a frame of any size is reduced: a value that passes between processes."""
        return FrameFit(cell=self.cell, max_cells=self.max_cells, min_cells=self.min_cells, side=self.side)

    @property
    def square(self) -> int:
        """Pixels of the side that a large square frame is reduced to."""
        return self.frame_fit(1 << 13, 1 << 13)[0]

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of cells of frames of this size."""
        return -(-height // self.cell), -(-width // self.cell)

    def num_groups(self, num_frames: int) -> int:
        """Groups of so many frames; an odd last frame is a group of its own."""
        return -(-num_frames // self.frames_per_group)

    def max_tokens(self, num_frames: int) -> int:
        """The most tokens that a step of so many frames has."""
        return self.num_groups(num_frames) * (self.max_cells + self._text_length)

    def max_positions(self, num_frames: int) -> int:
        """The most positions that a step of so many frames takes."""
        if self.positions.num_axes == 1:
            return self.max_tokens(num_frames)
        return self.num_groups(num_frames) * (self._longest_side + self._text_length)

    def group(self, frames: Tensor) -> Tensor:
        """Frames in groups, the last one repeated where one lacks. [..., F, H, W, 3] -> [..., G, K, H, W, 3]"""
        missing = -frames.shape[-4] % self.frames_per_group
        padded = torch.cat((frames, *[frames[..., -1:, :, :, :]] * missing), dim=-4) if missing else frames
        return torch.unflatten(padded, -4, (-1, self.frames_per_group))

    def by_group(self, admitted: Tensor) -> Tensor:
        """Which cells of each group any of its frames admits. bool [F, P] -> [G, P], on the CPU"""
        padding = (0, 0, 0, -len(admitted) % self.frames_per_group)
        padded = torch.nn.functional.pad(admitted.cpu(), padding)
        return torch.unflatten(padded, 0, (-1, self.frames_per_group)).any(dim=1)

    def frames_of_groups(self, is_chosen: Tensor, num_frames: int) -> Tensor:
        """Which frames are in the chosen groups. bool [G] -> [F]"""
        return is_chosen.repeat_interleave(self.frames_per_group)[:num_frames]

    def tokens(self, times_s: Sequence[float], origin_s: float, rows: int, columns: int) -> FrameTokens:
        """The tokens of a step of frames at these times, whole. origin_s: the time of the memory's first frame."""
        groups = [
            times_s[start : start + self.frames_per_group] for start in range(0, len(times_s), self.frames_per_group)
        ]
        is_one_video, last = self.positions_per_s is not None, len(groups) - 1
        before = [
            () if is_one_video and index else self.before((group[0] + group[-1]) / 2 - origin_s)
            for index, group in enumerate(groups)
        ]
        after = [() if is_one_video and index < last else self.after for index in range(len(groups))]
        untimed = _untimed(self.positions, tuple(before), tuple(after), (rows, columns), self._lags(groups))
        times = torch.tensor([group[-1] for group in groups], dtype=torch.float64)
        return dataclasses.replace(untimed, times_s=times[token_ids.frames_of(untimed.ids)])

    @property
    def _text_length(self) -> int:
        return len(self.before(_FAR_S)) + len(self.after)

    @property
    def _longest_side(self) -> int:
        """The most rows or columns of cells that a frame can have."""
        return self.max_cells if self.side is None else -(-self.side // self.cell)

    def _lags(self, groups: Sequence[Sequence[float]]) -> tuple[int, ...] | None:
        """How far each group is behind the first: never so far that the step takes more than `max_positions`. -> G"""
        if self.positions_per_s is None:
            return None
        starts = torch.tensor([group[0] for group in groups], dtype=torch.float64)
        lags = ((starts - starts[0]) * self.positions_per_s).long()
        return tuple(lags.clamp(min=0).minimum(torch.arange(len(groups)) * self._longest_side).tolist())


@functools.lru_cache(maxsize=_UNTIMED_KEPT)
def _untimed(
    positions: Positions,
    before: tuple[tuple[int, ...], ...],
    after: tuple[tuple[int, ...], ...],
    grid: tuple[int, int],
    lags: tuple[int, ...] | None,
) -> FrameTokens:
    """The tokens of a step but for their times, by the text around each group and its lag; not to be written to.

    Kept, because the steps of all cameras are alike.
    """
    of_lags = None if lags is None else torch.tensor(lags)
    cells = token_ids.cells(torch.arange(len(before)), *grid, of_lags)
    no_words = torch.zeros(math.prod(grid), dtype=torch.int64)
    words, ids = [], []
    for index, (first, last) in enumerate(zip(before, after, strict=True)):
        words += [torch.tensor(first, dtype=torch.int64), no_words, torch.tensor(last, dtype=torch.int64)]
        ids += [token_ids.text(index, len(first)), cells[index], token_ids.text(index, len(last), first=len(first))]
    all_ids = torch.cat(ids)
    advance = positions.advance(all_ids)
    return FrameTokens(all_ids, torch.cat(words), torch.empty(0), advance.offsets, advance.ends)
