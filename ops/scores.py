"""How much each cached token is worth keeping: attention blended with recency (HERMES, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-6


def min_max(scores: Tensor) -> Tensor:
    """Scores scaled to 0..1; zeros where all are equal. [N] -> [N]"""
    if not scores.numel():
        return scores
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low + _EPSILON)


def recency(num_tokens: int, decay: float, device: torch.device | None = None) -> Tensor:
    """exp(-decay · age), the age running from 1 (oldest) to 0 (newest) by rank. -> [N], float32"""
    # float32, because in bfloat16 old neighbours would tie, and a tie keeps the wrong token.
    rank = torch.arange(num_tokens - 1, -1, -1, dtype=torch.float32, device=device)
    return torch.exp(-decay * rank / max(num_tokens - 1, 1))


def blend(attention: Tensor, recency_share: float, decay: float) -> Tensor:
    """The weighted sum of attention and recency, each scaled to 0..1. [N] -> [N], float32"""
    by_recency = recency(attention.numel(), decay, attention.device)
    return (1 - recency_share) * min_max(attention.float()) + recency_share * min_max(by_recency)
