"""Attention of new tokens over cached ones, some of which are summaries of many, and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class New:
    """Tokens that a pass appends to one memory. [1, Hq, T, D], [1, H, T, D] twice

    texts: tokens of each text among them; a text does not see the others. One text if empty.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    texts: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Cached:
    """The valid tokens of one layer of a memory. [1, H, N, D] twice; counts: [N], None if no token is a summary."""

    keys: Tensor
    values: Tensor
    counts: Tensor | None = None

    def bias(self, rows: int, dtype: torch.dtype) -> Tensor | None:
        """What is added to the logits of so many query rows. -> [1, 1, R, N]

        A summary of n tokens gets log(n), so that it weighs as its tokens would together (KeepKV, ZSMerge).
        """
        if self.counts is None:
            return None
        device = self.keys.device
        return self.counts.to(device).float().log().to(dtype).expand(1, 1, rows, -1)


def attend(new: New, cached: Cached, scaling: float) -> tuple[Tensor, Tensor]:
    """Grouped-query attention of new tokens over all cached ones and, causally, over each other.

    -> [1, Hq, T, D], and the logarithm of what each token's exponentials sum up to, [1, Hq, T], float32.
    """
    attended, normalizer = _attend_to_new(new, scaling)
    if not cached.keys.shape[2]:
        return attended, normalizer
    past, past_normalizer = _attend_to_cached(new.queries, cached, scaling)
    share = (normalizer - past_normalizer).sigmoid()[..., None].to(attended.dtype)
    return torch.lerp(past, attended, share), torch.logaddexp(normalizer, past_normalizer)


def attention_weights(queries: Tensor, cached: Cached, normalizer: Tensor, scaling: float) -> Tensor:
    """The attention weights on the cached tokens. [Hq, T, D], [1, H, N, D], [Hq, T] -> [Hq, T, N], float32"""
    heads, tokens, width = queries.shape
    # The query heads that share a key head are rows of one product, so keys are not copied for each of them.
    rows = (queries.float() * scaling).reshape(cached.keys.shape[1], -1, width)
    logits = (rows @ cached.keys[0].float().mT).view(heads, tokens, -1)
    bias = cached.bias(1, torch.float32)
    logits = logits if bias is None else logits + bias[0]
    return (logits - normalizer[..., None]).exp()


def mean_weight(weights: Tensor) -> Tensor:
    """The mean over heads and query tokens: the score A of HERMES (section 3.2). [Hq, T, N] -> [N]"""
    return weights.mean(dim=(0, 1))


def peak_weight(weights: Tensor) -> Tensor:
    """The largest weight that any query token puts on each cached token, heads averaged. [Hq, T, N] -> [N]

    A token that one word of one question needs scores in full, even if all other words attend elsewhere.
    """
    return weights.mean(dim=0).amax(dim=0)


def _attend_to_cached(queries: Tensor, cached: Cached, scaling: float) -> tuple[Tensor, Tensor]:
    """Nothing is masked, so the query heads that share a key head are rows of one."""
    _, heads, tokens, width = queries.shape
    rows = queries.reshape(1, cached.keys.shape[1], -1, width)
    attended, normalizer = _flash(
        rows, cached.keys, cached.values, scaling, bias=cached.bias(rows.shape[2], rows.dtype)
    )
    return attended.reshape(1, heads, tokens, width), normalizer.reshape(1, heads, tokens)


def _attend_to_new(new: New, scaling: float) -> tuple[Tensor, Tensor]:
    if len(new.texts) <= 1:
        return _flash(new.queries, new.keys, new.values, scaling, is_causal=True)
    parts, start = [], 0
    for length in new.texts:
        text = slice(start, start + length)
        queries, keys, values = (tensor[:, :, text] for tensor in (new.queries, new.keys, new.values))
        parts.append(_flash(queries, keys, values, scaling, is_causal=True))
        start += length
    return torch.cat([part for part, _ in parts], dim=2), torch.cat([part for _, part in parts], dim=2)


def _flash(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scaling: float,
    *,
    bias: Tensor | None = None,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """-> [1, Hq, T, D], [1, Hq, T]"""
    if queries.device.type == "cpu":
        attended, normalizer = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, 0.0, is_causal, attn_mask=bias, scale=scaling
        )
        return attended, normalizer
    # One kernel for all number types, which knows no grouped heads.
    groups = queries.shape[1] // keys.shape[1]
    keys, values = (tensor.repeat_interleave(groups, dim=1) for tensor in (keys, values))
    attended, normalizer, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        queries, keys, values, bias, True, 0.0, is_causal, scale=scaling
    )
    return attended, normalizer[..., : queries.shape[2]]
