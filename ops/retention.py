"""Which cached tokens stay."""

from __future__ import annotations

import torch
from torch import Tensor


def keep_top(scores: Tensor, budget: int) -> Tensor:
    """Places of the `budget` highest scores, oldest first; the newer of two equals wins. [N] -> [K]"""
    newest_first = scores.flip(0).sort(descending=True, stable=True).indices
    kept = scores.numel() - 1 - newest_first[:budget]
    return kept.sort().values


def others(kept: Tensor, num_tokens: int) -> Tensor:
    """The places that are not among `kept`, oldest first. [K] -> [N - K]"""
    evicted = torch.ones(num_tokens, dtype=torch.bool, device=kept.device)
    evicted[kept] = False
    return evicted.nonzero().squeeze(1)
