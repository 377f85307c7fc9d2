"""One position frame for all layers of a memory, closed up when positions run out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def close_up(positions: Sequence[Tensor], *, first: int, room: int) -> list[Tensor]:
    """Each position's rank among all that any layer holds, counted from `first`. L × [N_l] -> L × [N_l]

    Order is kept and a token has the same position in every layer. Where layers hold such different tokens
    that the ranks exceed `room`, they are scaled down to it, and neighbours may share a position.
    """
    held = torch.unique(torch.cat(list(positions)))
    scale = min(1.0, room / max(held.numel(), 1))
    return [first + (torch.searchsorted(held, layer).double() * scale).long() for layer in positions]
