"""Which cached tokens are kept and which are evicted."""

from __future__ import annotations

import torch
from torch import Tensor


def keep_top(scores: Tensor, budget: int) -> Tensor:
    """Indices of the `budget` highest scores, oldest first; of equal ones the newer is kept. [..., N] -> [..., K]"""
    newest_first = scores.flip(-1).sort(descending=True, stable=True).indices
    kept = scores.shape[-1] - 1 - newest_first[..., :budget]
    return kept.sort().values


def evicted(kept: Tensor, num_tokens: int) -> Tensor:
    """The indices that are not in `kept`, oldest first. [K] -> [N - K]"""
    is_evicted = torch.ones(num_tokens, dtype=torch.bool, device=kept.device)
    is_evicted[kept] = False
    return is_evicted.nonzero().squeeze(1)
