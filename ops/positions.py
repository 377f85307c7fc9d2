"""The positions of a memory, one numbering for all layers, and its compression when positions run out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def reindex(positions: Sequence[Tensor], *, first: int, max_span: int, max_gap: int) -> list[Tensor]:
    """The positions in use in any layer, renumbered from `first`, with no gap above `max_gap`. L × [N_l] -> L × [N_l]

    Order is kept, and a token has the same position in every layer. With a gap of 1 the result is ranks (HERMES,
    section 3.4); a larger one leaves tokens that were near each other as far apart as they were. Where the positions
    would exceed `max_span`, gaps are halved until they fit. Where even ranks do not fit, positions are scaled down, and
    neighbours may share one.
    """
    used = torch.unique(torch.cat(list(positions)))
    gaps = used.diff(prepend=used[:1] - 1)
    while max_gap > 1 and int(gaps.clamp(max=max_gap).sum()) > max_span:
        max_gap //= 2
    offsets = gaps.clamp(max=max_gap).cumsum(0) - 1
    scale = min(1.0, max_span / max(int(offsets[-1]) + 1, 1)) if offsets.numel() else 1.0
    reindexed = first + (offsets.double() * scale).long()
    return [reindexed[torch.searchsorted(used, layer)] for layer in positions]
