"""The decisions that the default policy is measured against: ideas of other systems and variants of our own.

Each is the idea alone, in our memory and with our scores. None is a port of published code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cache_store import policies, summaries, token_ids
from cache_store.cached_tokens import CachedTokens
from cache_store.policies import Decision, LayerView, MemoryView, Retention
from cache_store.positions import Positions
from cache_store.tiers import Role
from ops import retention, scores, smoothing

NUM_SINKS = 4
RECENCY_SHARE = 0.3
HALF_LIFE_S = 60.0
COVERAGE_SHARE = 0.35
MAX_PROTOTYPES = 8  # new ones of a compaction


def by_score(score: Callable[[LayerView], Tensor]) -> Decision:
    """Keeps the tokens with the highest score in each layer and evicts the rest."""
    return lambda view: policies.keep_highest(view, [score(layer) for layer in view])


def sinks_and_newest(layer: LayerView) -> Tensor:
    """A sliding window with attention sinks: the first few tokens of the stream and the newest. -> [N]"""
    rank = torch.arange(len(layer.tokens), dtype=torch.float32, device=layer.attention.device)
    return torch.where(rank < NUM_SINKS, torch.inf, rank)


def scattered(layer: LayerView) -> Tensor:
    """A random number that a token always has, so that what stays is a uniform sample of the whole stream. -> [N]"""
    ids = layer.tokens.token_ids
    numbers = token_ids.frames_of(ids) * 1_048_583 + token_ids.rows_of(ids) * 1_031 + token_ids.columns_of(ids)
    return ((numbers * 2_654_435_761 + 12_345) % 1_000_003).float()


def novelty(layer: LayerView) -> Tensor:
    """1 - cosine of a token's values to those of the token before it in the same cell, 1 for the first. [N]"""
    tokens, cells = layer.tokens, layer.tokens.token_ids - token_ids.first_of(1) * layer.frames
    order = cells.sort(stable=True).indices
    values = torch.nn.functional.normalize(tokens.values.float(), dim=-1)[:, order]
    similarity = (values[:, 1:] * values[:, :-1]).sum(dim=-1).mean(dim=0)
    is_same_cell = cells[order][1:] == cells[order][:-1]
    novelties = torch.ones(len(tokens), device=values.device)
    novelties[order[1:]] = torch.where(is_same_cell, 1 - similarity, 1.0)
    return novelties


def infinipot(view: MemoryView) -> list[Retention]:
    """InfiniPot-V, without questions: half of the budget by novelty over time, half by the norm of the values."""
    scores_by_layer = []
    for layer in view:
        norms = layer.tokens.values.float().norm(dim=-1).mean(dim=0)
        most_novel = retention.keep_top(novelty(layer), layer.budget // 2)
        scores_by_layer.append(norms.index_fill(0, most_novel, torch.inf))
    return policies.keep_highest(view, scores_by_layer)


def streammem(view: MemoryView) -> list[Retention]:
    """StreamMem: attention of a proxy query, and the evicted tokens of a frame fold into one prototype."""
    decisions = []
    for layer in view:
        kept = retention.keep_top(layer.attention, layer.budget)
        evicted = retention.evicted(kept, len(layer.tokens))
        evicted = evicted[layer.tokens.counts[evicted] == 1]
        frames = torch.unique(layer.frames[evicted])[-min(MAX_PROTOTYPES, layer.budget // 4) :]
        groups = tuple(evicted[layer.frames[evicted] == frame] for frame in frames)
        kept = retention.keep_top(layer.attention, layer.budget - len(groups))
        decisions.append(Retention(kept, groups))
    return decisions


def hermes_by_index(view: MemoryView) -> list[Retention]:
    """HERMES with scores smoothed by index, as published: after a compaction equal indices are unrelated tokens."""
    return policies.keep_highest(view, _smoothed_by_index(view))


def hermes_unsmoothed(view: MemoryView) -> list[Retention]:
    """HERMES with each layer by itself."""
    return policies.keep_highest(view, policies.blended(view))


def hermes_with_summaries(view: MemoryView) -> list[Retention]:
    """HERMES, and in each long-term layer the evicted tokens fold into one summary."""
    ids, shares = [layer.tokens.token_ids for layer in view], [layer.plan.smoothing_share for layer in view]
    return _fold_long_term(view, smoothing.smooth(policies.blended(view), ids, shares))


def hermes_published(view: MemoryView) -> list[Retention]:
    """HERMES as published: smoothed by index, with summaries."""
    return _fold_long_term(view, _smoothed_by_index(view))


def _smoothed_by_index(view: MemoryView) -> list[Tensor]:
    indices = [torch.arange(len(layer.tokens), device=layer.attention.device) for layer in view]
    return smoothing.smooth(policies.blended(view), indices, [layer.plan.smoothing_share for layer in view])


def _fold_long_term(view: MemoryView, scores_by_layer: Sequence[Tensor]) -> list[Retention]:
    """Keeps the highest scores. In long-term layers the rest becomes one summary, counted in the budget. L × [N_l]"""
    decisions = []
    for layer, layer_scores in zip(view, scores_by_layer, strict=True):
        folds = layer.plan.role is Role.LONG_TERM and len(layer.tokens) > layer.budget
        kept = retention.keep_top(layer_scores, max(layer.budget - folds, 0))
        decisions.append(Retention(kept, (retention.evicted(kept, len(layer.tokens)),) if folds else ()))
    return decisions


def published_summary(folded: CachedTokens, kept: CachedTokens, positions: Positions) -> CachedTokens:
    """The summary of the published HERMES code: a plain mean with a count of one, after the last kept token."""
    middle = folded.positions[(len(folded) - 1) // 2]
    position = kept.positions[-1] + 1 if len(kept) else middle
    ones = folded.counts.new_ones(len(folded))
    return dataclasses.replace(summaries.summary_at(position, folded, ones, positions), counts=ones[:1])


def with_recency(layer: LayerView) -> Tensor:
    """Attention blended with recency in seconds, with a half-life of one minute. -> [N]"""
    age_s = (layer.tokens.times_s.max() - layer.tokens.times_s).float() if len(layer.tokens) else layer.attention
    recent = torch.exp2(-age_s / HALF_LIFE_S)
    return (1 - RECENCY_SHARE) * scores.min_max(layer.attention) + RECENCY_SHARE * recent


def times_novelty(layer: LayerView) -> Tensor:
    """Attention × novelty (OmniMem). -> [N]"""
    return layer.attention * novelty(layer)


def half_by_novelty(view: MemoryView) -> list[Retention]:
    """Half of the budget by attention, the rest by novelty over time."""
    scores_by_layer = []
    for layer in view:
        most_attended = retention.keep_top(layer.attention, layer.budget // 2)
        scores_by_layer.append(novelty(layer).index_fill(0, most_attended, torch.inf))
    return policies.keep_highest(view, scores_by_layer)


def with_coverage(view: MemoryView) -> list[Retention]:
    """A share of the budget spread evenly over time buckets of doubling length, the rest by attention."""
    decisions = []
    for layer in view:
        quota, score = int(COVERAGE_SHARE * layer.budget), layer.attention.clone()
        if len(layer.tokens) > layer.budget:
            age_s = layer.tokens.times_s.max() - layer.tokens.times_s
            bucket = torch.log2(age_s + 1).long()
            for number in (buckets := torch.unique(bucket)):
                inside = (bucket == number).nonzero().squeeze(1)
                best = inside[retention.keep_top(layer.attention[inside], quota // len(buckets))]
                score[best] += 1e3
        decisions.append(Retention(retention.keep_top(score, layer.budget)))
    return decisions


def with_cap(view: MemoryView) -> list[Retention]:
    """At most a quarter of a frame's tokens, unless no other tokens are left."""
    decisions = []
    for layer in view:
        score = layer.attention.clone()
        cells = int(torch.unique(layer.tokens.token_ids - token_ids.first_of(1) * layer.frames).numel())
        for frame in torch.unique(layer.frames):
            inside = (layer.frames == frame).nonzero().squeeze(1)
            best = retention.keep_top(layer.attention[inside], max(1, cells // 4))
            surplus = retention.evicted(best, len(inside))
            score[inside[surplus]] -= 1e3
        decisions.append(Retention(retention.keep_top(score, layer.budget)))
    return decisions


def with_summaries(view: MemoryView) -> list[Retention]:
    """Evicted tokens fold into summaries, one for each doubling of age, in every layer."""
    decisions = []
    for layer in view:
        if len(layer.tokens) <= layer.budget:
            decisions.append(Retention(retention.keep_top(layer.attention, layer.budget)))
            continue
        is_summary = layer.tokens.counts > 1
        score = layer.attention.masked_fill(is_summary, -torch.inf)
        bucket = torch.log2((layer.tokens.times_s.max() - layer.tokens.times_s) / 8 + 1).long()
        max_summaries = max(1, layer.budget // 8)
        kept = retention.keep_top(score, layer.budget - max_summaries)
        evicted = retention.evicted(kept, len(layer.tokens))
        age = bucket[evicted].clamp(max=max_summaries - 1)
        decisions.append(Retention(kept, tuple(evicted[age == number] for number in torch.unique(age))))
    return decisions
