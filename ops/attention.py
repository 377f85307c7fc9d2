"""Attention over cached tokens of which some stand for many, and the weight it puts on each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scaling: float) -> Tensor:
    """Grouped-query attention. [B, Hq, T, D], [B, H, N, D] twice, bias [B, 1, T, N] -> [B, Hq, T, D]"""
    return F.scaled_dot_product_attention(
        query, keys, values, attn_mask=bias.to(query.dtype), scale=scaling, enable_gqa=True
    )


def attention_weights(query: Tensor, keys: Tensor, bias: Tensor, scaling: float) -> Tensor:
    """What each head puts on each cached token. [Hq, T, D], [H, N, D], [T, N] -> [Hq, T, N], float32"""
    _, tokens, width = query.shape
    grouped = query.float().view(keys.shape[0], -1, tokens, width)
    logits = grouped @ keys.float().unsqueeze(1).transpose(-1, -2) * scaling + bias
    return logits.softmax(dim=-1).flatten(0, 1)


def mean_weight(weights: Tensor) -> Tensor:
    """Over heads and query tokens: the score A of HERMES (section 3.2) for a guidance prompt. [Hq, T, N] -> [N]"""
    return weights.mean(dim=(0, 1))


def peak_weight(weights: Tensor) -> Tensor:
    """The most that any query token puts on each cached one, heads averaged. [Hq, T, N] -> [N]

    What a single word of a single question needs counts in full, however many others look elsewhere.
    """
    return weights.mean(dim=0).amax(dim=0)


def visibility(counts: Tensor, lengths: Tensor, new_tokens: Tensor) -> Tensor:
    """What T new tokens see of N places, as a bias on the logits. [B, N], [B], [T, T] -> [B, 1, T, N]

    Each memory holds `lengths` cached tokens, then the T new ones; beyond them nothing is visible. `new_tokens`
    says which new token (row) sees which (column). A summary of n tokens gets log(n), so that it weighs as its
    tokens would together (KeepKV, ZSMerge); whatever may not be seen gets -inf.
    """
    places = counts.shape[1]
    tokens = new_tokens.shape[0]
    place = torch.arange(places, device=counts.device)
    offset = place[None, :] - lengths[:, None]
    cached = offset < 0
    within = (offset >= 0) & (offset < tokens)
    among_new = new_tokens[:, offset.clamp(0, tokens - 1)].transpose(0, 1)
    visible = cached[:, None, :] | (within[:, None, :] & among_new)
    weight = torch.where(cached, counts.clamp(min=1), 1).float().log()
    return torch.where(visible, weight[:, None, :], -torch.inf).unsqueeze(1)
