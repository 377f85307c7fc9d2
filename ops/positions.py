"""One position frame for all layers of a memory, closed up when positions run out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def reindex(positions: Sequence[Tensor], *, first: int, room: int, longest_gap: int) -> list[Tensor]:
    """The positions that any layer holds, counted from `first`, with no gap between two longer than `longest_gap`.

    L × [N_l] -> L × [N_l]. Order is kept and a token has the same position in every layer. With a gap of 1 these are
    ranks (HERMES, section 3.4); a longer one leaves tokens that were near each other as far apart as they were. Where
    the positions would exceed `room`, gaps are halved until they do not; where even the ranks do, they are scaled
    down, and neighbours may share a position.
    """
    held = torch.unique(torch.cat(list(positions)))
    gaps = held.diff(prepend=held[:1] - 1)
    while longest_gap > 1 and int(gaps.clamp(max=longest_gap).sum()) > room:
        longest_gap //= 2
    places = gaps.clamp(max=longest_gap).cumsum(0) - 1
    scale = min(1.0, room / max(int(places[-1]) + 1, 1)) if places.numel() else 1.0
    moved = first + (places.double() * scale).long()
    return [moved[torch.searchsorted(held, layer)] for layer in positions]
