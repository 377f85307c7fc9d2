"""The positions of a memory, one numbering for all layers, and its compression when positions run out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def reindex(positions: Sequence[Tensor], *, first: int, max_span: int, max_gap: int, recent_from: int) -> list[Tensor]:
    """The positions in use in any layer, renumbered from `first`, with no gap above `max_gap`. L × [N_l] -> L × [N_l]

    Order is kept, and positions from `recent_from` on keep their distances. A `max_gap` of 1 turns the past into ranks
    (HERMES, section 3.4); with a larger one, tokens that were near each other stay as far apart as they were. Where the
    positions would exceed `max_span`, `max_gap` is halved until they fit. A token has the same position in every layer,
    unless even ranks over all layers do not fit: then each layer's past is squeezed by itself, and distinct positions
    stay distinct if there is room. Tokens of a layer that share a position keep sharing it.
    """
    used = torch.unique(torch.cat(list(positions)))
    gaps = used.diff(prepend=used[:1] - 1)
    keeps_gap = used - gaps >= recent_from
    while max_gap > 1 and int(_shortened(gaps, keeps_gap, max_gap).sum()) > max_span:
        max_gap //= 2
    offsets = _shortened(gaps, keeps_gap, max_gap).cumsum(0) - 1
    layers = [offsets[torch.searchsorted(used, layer)] for layer in positions]
    span = int(offsets[-1]) + 1 if offsets.numel() else 0
    if span > max_span:
        past = int(offsets[used < recent_from].max()) + 1 if bool((used < recent_from).any()) else 0
        layers = [_squeezed(layer, past, max(past - (span - max_span), 0)) for layer in layers]
    return [first + layer for layer in layers]


def _shortened(gaps: Tensor, keeps_gap: Tensor, max_gap: int) -> Tensor:
    return torch.where(keeps_gap, gaps, gaps.clamp(max=max_gap))


def _squeezed(offsets: Tensor, past: int, room: int) -> Tensor:
    """Rising offsets with those below `past` squeezed to below `room`, in their order. [N] -> [N]"""
    num_past = int((offsets < past).sum())
    used, which = torch.unique_consecutive(offsets[:num_past], return_inverse=True)
    place = torch.arange(len(used), device=offsets.device)
    scaled = used * room // max(past, 1)
    distinct = (scaled - place).cummax(0).values + place
    squeezed = torch.minimum(distinct, room - len(used) + place).clamp(min=0)[which]
    return torch.cat((squeezed, offsets[num_past:] - (past - room)))
