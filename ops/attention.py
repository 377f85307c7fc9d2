"""Attention of new tokens over cached ones, some of which are summaries of many, and its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ops import fused_attention, tiled_attention
from ops.fused_attention import Attended

Reduce = Callable[[Tensor], Tensor]
_SCORED_SHARE = 0.35  # of the new tokens: with fewer whose weights are wanted, a second pass over the keys takes less
_FEW_LOGITS = 1 << 18  # of all heads: so few take longer to be divided into parts than to be computed as one
_LOGITS_ON_GPU = 1 << 24  # as many as its cache holds: launching fewer takes longer than computing them
_MANY_ROWS = 32  # of queries; for fewer, keys that are widened to float32 are faster than a product in their own type


@dataclass(frozen=True, slots=True)
class New:
    """Tokens that a pass appends to each of R memories. [R, Hq, T, D], [R, H, T, D] twice

    mask: added to the logits of the tokens over each other, [1, 1, T, T]; causal unless given.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Cached:
    """The valid tokens of one layer of R memories. [R, H, N, D] twice

    counts: [N], of one memory; None if no token is a summary.
    """

    keys: Tensor
    values: Tensor
    counts: Tensor | None = None

    @property
    def bias(self) -> Tensor | None:
        """What is added to the logits. -> [1, 1, 1, N], float32

        A summary of n tokens gets log(n), so that it weighs as its tokens would together (KeepKV, ZSMerge).
        """
        return None if self.counts is None else self.counts.to(self.keys.device).float().log()[None, None, None]


def attend(new: New, cached: Cached, scaling: float) -> Attended:
    """Grouped-query attention of new tokens over all cached ones and, causally, over each other.

    -> [R, Hq, T, D], and the normalizer, the log-sum-exp of each token's logits, [R, Hq, T], float32.
    """
    is_causal = new.mask is None
    attended, normalizer = fused_attention.attend(
        new.queries, new.keys, new.values, scaling, bias=new.mask, is_causal=is_causal
    )
    if not cached.keys.shape[2]:
        return attended, normalizer
    return merge(attend_to_cached(new.queries, cached, scaling), (attended, normalizer))


def attend_and_reduce(new: New, cached: Cached, scaling: float, rows: slice, reduce: Reduce) -> tuple[Attended, Tensor]:
    """`attend`, and `reduced_weights` of some new tokens. On a CPU both take one pass over the keys if those are many.

    -> [R, Hq, T, D], [R, Hq, T], [R, ..., N]
    """
    heads, num_new = new.queries.shape[1:3]
    is_one_pass = len(range(num_new)[rows]) >= _SCORED_SHARE * num_new and fused_attention.is_on_cpu(new.queries)
    if is_one_pass and heads * num_new * cached.keys.shape[2] <= _FEW_LOGITS:
        return _softmax(new, cached, scaling, rows, reduce)
    if not is_one_pass or not cached.keys.shape[2]:
        attended, normalizer = attend(new, cached, scaling)
        weights = reduced_weights(new.queries[:, :, rows], cached, normalizer[:, :, rows], scaling, reduce)
        return (attended, normalizer), weights
    of_each = []
    for row in range(len(new.queries)):  # one by one, because the weights of all are many numbers
        one = slice(row, row + 1)
        part = New(new.queries[one], new.keys[one], new.values[one], new.mask)
        of_one = Cached(cached.keys[one], cached.values[one], cached.counts)
        (attended, normalizer), reduced = _attend_with_weights(part, of_one, scaling, rows, reduce)
        of_each.append((attended, normalizer, reduced))
    attended, normalizer, weights = (torch.cat(parts) for parts in zip(*of_each, strict=True))
    return (attended, normalizer), weights


def _attend_with_weights(
    new: New, cached: Cached, scaling: float, rows: slice, reduce: Reduce
) -> tuple[Attended, Tensor]:
    """`attend_and_reduce` for one memory, in one pass over the keys."""
    of_new = fused_attention.attend(
        new.queries, new.keys, new.values, scaling, bias=new.mask, is_causal=new.mask is None
    )
    heads, tokens = new.queries.shape[1:3]
    grouped = new.queries.reshape(1, cached.keys.shape[1], -1, new.queries.shape[3]) * scaling
    found = tiled_attention.exponentials(grouped, cached.keys, cached.values, cached.bias)
    of_cached = (found.attended.view(of_new[0].shape), found.normalizer.view(of_new[1].shape))
    attended, normalizer = merge(of_cached, of_new)
    reduced = found.reduced(
        normalizer.view(found.normalizer.shape),
        lambda weights: reduce(weights.view(1, heads, tokens, -1)[:, :, rows]),
    )
    return (attended, normalizer), reduced


def _softmax(new: New, cached: Cached, scaling: float, rows: slice, reduce: Reduce) -> tuple[Attended, Tensor]:
    """`attend_and_reduce` as one softmax over cached and new tokens, in float32."""
    batch, heads, tokens, width = new.queries.shape
    keys = torch.cat((cached.keys, new.keys), dim=2).float()
    values = torch.cat((cached.values, new.values), dim=2).float()
    num_cached, bias = cached.keys.shape[2], cached.bias
    logits = (new.queries.float() * scaling).reshape(batch, keys.shape[1], -1, width) @ keys.mT
    of_heads = logits.view(batch, heads, tokens, -1)
    of_heads[..., num_cached:].add_(causal_mask(tokens, keys) if new.mask is None else new.mask)
    if bias is not None:
        of_heads[..., :num_cached].add_(bias)
    offset = logits.amax(dim=-1, keepdim=True)
    weights = logits.sub_(offset).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    attended = (weights.div_(total) @ values).view(new.queries.shape).to(new.queries.dtype)
    normalizer = total.log_().add_(offset).view(batch, heads, tokens)
    return (attended, normalizer), reduce(of_heads[:, :, rows, :num_cached])


def causal_mask(num_new: int, keys: Tensor, num_cached: int = 0) -> Tensor:
    """Keeps each new token from those behind it: added to the logits. keys: of its dtype and device. -> [T, N + T]"""
    return keys.new_full((num_new, num_cached + num_new), -torch.inf).triu_(num_cached + 1)


def text_mask(texts: Sequence[Tensor]) -> Tensor:
    """The mask of texts packed side by side, each of them causal and apart from the others: added to the logits.

    texts: the packed places of each text's tokens, in order; texts may share their first ones. [T_i] -> [1, 1, T, T]
    """
    num_tokens = 1 + max(int(places[-1]) for places in texts)
    is_seen = torch.zeros(num_tokens, num_tokens, dtype=torch.bool)
    for places in texts:
        is_seen[places[:, None], places] |= torch.ones(len(places), len(places), dtype=torch.bool).tril()
    return torch.zeros(is_seen.shape).masked_fill_(~is_seen, -torch.inf)[None, None]


def merge(one: Attended, other: Attended) -> Attended:
    """The attention over two sets of keys from that over each."""
    share = (other[1] - one[1]).sigmoid()[..., None].to(one[0].dtype)
    return torch.lerp(one[0], other[0], share), torch.logaddexp(one[1], other[1])


def reduced_weights(queries: Tensor, cached: Cached, normalizer: Tensor, scaling: float, reduce: Reduce) -> Tensor:
    """What `reduce` makes of the attention weights on the cached tokens, [R, Hq, T, N] -> [R, ..., N], part by part.

    [R, Hq, T, D], [R, Hq, T] -> [R, ..., N]
    """
    batch, heads, tokens, width = queries.shape
    num_kv_heads = cached.keys.shape[1]
    rows, sums = queries.reshape(batch, num_kv_heads, -1, width), normalizer.reshape(batch, num_kv_heads, -1)
    bias, num_keys = cached.bias, max(1, cached.keys.shape[2])
    at_once = _keys_at_once(rows) if rows.shape[2] >= _MANY_ROWS else num_keys
    reduced = []
    for start in range(0, num_keys, at_once):
        part = slice(start, start + at_once)
        part_bias = None if bias is None else bias[..., part]
        weights = attention_weights(rows, cached.keys[:, :, part], sums, scaling, part_bias)
        reduced.append(reduce(weights.view(batch, heads, tokens, -1)))
    return reduced[0] if len(reduced) == 1 else torch.cat(reduced, dim=-1)


def _keys_at_once(rows: Tensor) -> int:
    """How many keys' logits are made together for these rows of queries. [B, H, R, D]"""
    if fused_attention.is_on_cpu(rows):
        return tiled_attention.KEYS_AT_ONCE
    return max(tiled_attention.KEYS_AT_ONCE, _LOGITS_ON_GPU // rows[..., 0].numel())


def attention_weights(
    rows: Tensor, keys: Tensor, normalizer: Tensor, scaling: float, bias: Tensor | None = None
) -> Tensor:
    """The attention weights of query rows. [B, H, R, D], [B, H, N, D], [B, H, R] -> [B, H, R, N], float32

    The query heads that share a key head are rows of one product, so keys are not copied for each of them.
    """
    dtype = keys.dtype if rows.shape[2] >= _MANY_ROWS else torch.float32
    logits = ((rows.to(dtype) * scaling) @ keys.to(dtype).mT).float()
    logits = logits if bias is None else logits.add_(bias)
    return logits.sub_(normalizer[..., None]).exp_()


def mean_weight(weights: Tensor) -> Tensor:
    """The mean over heads and query tokens: the score A of HERMES (section 3.2). [..., Hq, T, N] -> [..., N]"""
    return weights.mean(dim=(-3, -2))


def summed_weight(weights: Tensor) -> Tensor:
    """The sum over query tokens, heads averaged. [..., Hq, T, N] -> [..., N]"""
    return weights.sum(dim=(-3, -2)).div_(weights.shape[-3])


def peak_weight(weights: Tensor) -> Tensor:
    """The largest weight that any query token puts on each cached token, heads averaged. [..., Hq, T, N] -> [..., N]

    A token that one word of one question needs scores in full, even if all other words attend elsewhere.
    """
    return weights.sum(dim=-3).amax(dim=-2).div_(weights.shape[-3])


def attend_to_cached(queries: Tensor, cached: Cached, scaling: float) -> Attended:
    """Attention over all cached tokens. No mask, so the query heads that share a key head are rows of one product.

    [R, Hq, T, D] -> [R, Hq, T, D], [R, Hq, T]
    """
    batch, heads, tokens, width = queries.shape
    rows, bias = queries.reshape(batch, cached.keys.shape[1], -1, width), cached.bias
    is_tiled = fused_attention.is_on_cpu(rows) and rows.dtype == torch.bfloat16 and rows.shape[2] >= _MANY_ROWS
    if is_tiled and cached.keys.shape[2]:
        attended, normalizer = tiled_attention.attend(rows * scaling, cached.keys, cached.values, bias)
    else:
        bias = None if bias is None else bias.to(rows.dtype)
        attended, normalizer = fused_attention.attend(rows, cached.keys, cached.values, scaling, bias=bias)
    return attended.reshape(batch, heads, tokens, width), normalizer.reshape(batch, heads, tokens)
