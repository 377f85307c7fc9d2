"""Where a memory ended at some moment."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a memory reaches: what `commit` moves on and `rewind` moves back."""

    lengths: tuple[int, ...]
    next_position: int
    next_frame: int
    origin_s: float | None
    states: tuple[Tensor, ...]  # of recurrent layers, copies
