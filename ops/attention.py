"""Attention over cached tokens, some of which are summaries of many, and its weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, scaling: float) -> Tensor:
    """Grouped-query attention. [B, Hq, T, D], [B, H, N, D] twice, bias [B, 1, T, N] -> [B, Hq, T, D]"""
    mask = None if bias is None else bias.to(query.dtype)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scaling, enable_gqa=True)


def attention_weights(query: Tensor, keys: Tensor, bias: Tensor | None, scaling: float) -> Tensor:
    """The attention weights of each head. [Hq, T, D], [H, N, D], [T, N] -> [Hq, T, N], float32"""
    heads, tokens, width = query.shape
    # The query heads that share a key head are rows of one product, so keys are not copied for each of them.
    rows = (query.float() * scaling).reshape(keys.shape[0], -1, width)
    logits = (rows @ keys.float().mT).view(heads, tokens, -1)
    return (logits if bias is None else logits + bias).softmax(dim=-1)


def mean_weight(weights: Tensor) -> Tensor:
    """The mean over heads and query tokens: the score A of HERMES (section 3.2). [Hq, T, N] -> [N]"""
    return weights.mean(dim=(0, 1))


def peak_weight(weights: Tensor) -> Tensor:
    """The largest weight that any query token puts on each cached token, heads averaged. [Hq, T, N] -> [N]

    A token that one word of one question needs scores in full, even if all other words attend elsewhere.
    """
    return weights.mean(dim=0).amax(dim=0)


def attention_bias(counts: Tensor, lengths: Tensor, new_tokens: Tensor) -> Tensor:
    """The mask of T new tokens over N cache entries, as a bias on the logits. [B, N], [B], [T, T] -> [B, 1, T, N]

    Each memory has `lengths` cached tokens, then the T new ones; entries behind them are masked. new_tokens: True where
    a new token (row) attends to a new token (column). A summary of n tokens gets log(n), so that it weighs as its
    tokens would together (KeepKV, ZSMerge); a masked entry gets -inf.
    """
    tokens = new_tokens.shape[0]
    entry = torch.arange(counts.shape[1], device=counts.device)
    offset = entry[None, :] - lengths[:, None]
    cached = offset < 0
    is_new = (offset >= 0) & (offset < tokens)
    among_new = new_tokens[:, offset.clamp(0, tokens - 1)].transpose(0, 1)
    visible = cached[:, None, :] | (is_new[:, None, :] & among_new)
    weight = torch.where(cached, counts.clamp(min=1), 1).float().log()
    return torch.where(visible, weight[:, None, :], -torch.inf).unsqueeze(1)
