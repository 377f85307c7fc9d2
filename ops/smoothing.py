"""Scores smoothed from deep layers to shallow ones, token by token (HERMES, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def smooth(scores: Sequence[Tensor], token_ids: Sequence[Tensor], shares: Sequence[float]) -> list[Tensor]:
    """S̃_l = (1 - λ_l) · S_l + λ_l · S̃_(l+1), the deepest layer unchanged. L × [N_l] -> L × [N_l]

    Tokens of neighbouring layers are matched by their ids, not by their places: after the first compaction one
    place holds different tokens in different layers. A token that the deeper layer no longer has keeps its own
    score. `shares` are the λ of each layer.
    """
    smoothed = [scores[-1]]
    for layer in range(len(scores) - 2, -1, -1):
        deeper = _aligned(smoothed[0], token_ids[layer + 1], token_ids[layer], otherwise=scores[layer])
        smoothed.insert(0, torch.lerp(scores[layer], deeper, shares[layer]))
    return smoothed


def _aligned(scores: Tensor, ids: Tensor, wanted_ids: Tensor, *, otherwise: Tensor) -> Tensor:
    """For each wanted id its score, or the one in `otherwise` where the id is missing. [M], [M], [N] -> [N]"""
    if not ids.numel():
        return otherwise
    ordered, order = ids.sort()
    place = torch.searchsorted(ordered, wanted_ids).clamp(max=ids.numel() - 1)
    return torch.where(ordered[place] == wanted_ids, scores[order[place]], otherwise)
