"""How much each cached token is worth keeping: attention blended with recency (HERMES, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-6


def min_max(scores: Tensor) -> Tensor:
    """Scores stretched to 0..1; all zeros where they are all equal. [N] -> [N]"""
    if not scores.numel():
        return scores
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low + _EPSILON)


def recency(num_tokens: int, decay: float, device: torch.device | None = None) -> Tensor:
    """exp(-decay · age), the age running from 1 (oldest) to 0 (newest) by rank. -> [N], float32"""
    # float32: in bfloat16 neighbours far from the newest would tie, and a tie keeps the wrong token.
    rank = torch.arange(num_tokens - 1, -1, -1, dtype=torch.float32, device=device)
    return torch.exp(-decay * rank / max(num_tokens - 1, 1))


def blend(attention: Tensor, recency_share: float, decay: float) -> Tensor:
    """Attention and recency, each stretched to 0..1, mixed. [N] -> [N], float32"""
    newest_first = recency(attention.numel(), decay, attention.device)
    return (1 - recency_share) * min_max(attention.float()) + recency_share * min_max(newest_first)
