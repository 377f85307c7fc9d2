"""Scores smoothed from deep layers to shallow ones, token by token (HERMES, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def smooth(scores: Sequence[Tensor], token_ids: Sequence[Tensor], shares: Sequence[float]) -> list[Tensor]:
    """S̃_l = (1 - λ_l) · S_l + λ_l · S̃_(l+1), the deepest layer unchanged. L × [N_l] -> L × [N_l]

    Tokens of neighbouring layers are matched by their ids, not by their indices: after the first compaction one index
    is a different token in each layer. A token that the deeper layer has evicted keeps its own score. shares: λ of each
    layer.
    """
    smoothed = [scores[-1]]
    for layer in range(len(scores) - 2, -1, -1):
        deeper = _aligned(smoothed[0], token_ids[layer + 1], token_ids[layer], otherwise=scores[layer])
        smoothed.insert(0, torch.lerp(scores[layer], deeper, shares[layer]))
    return smoothed


def _aligned(scores: Tensor, ids: Tensor, target_ids: Tensor, *, otherwise: Tensor) -> Tensor:
    """The score of each target id, or the one in `otherwise` where `ids` lacks it. [M], [M], [N] -> [N]"""
    if not ids.numel():
        return otherwise
    ordered, order = ids.sort()
    index = torch.searchsorted(ordered, target_ids).clamp(max=ids.numel() - 1)
    return torch.where(ordered[index] == target_ids, scores[order[index]], otherwise)
