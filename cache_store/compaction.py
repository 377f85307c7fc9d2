"""Compaction: evicts, by dropping or folding, what a policy does not keep, so that a memory fits its budget again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from cache_store.policies import LayerView, Policy, Retention
from cache_store.tiers import LayerPlan
from ops import transfer

_MAX_GROUPS = 1 << 20  # summaries of one compaction in one layer


def is_due(memory: Memory, budget: int) -> bool:
    """Whether any layer holds more than `budget` tokens after its prefix."""
    return memory.longest - memory.prefix_length > budget


def window_lengths(memory: Memory, first_token_id: int) -> list[int]:
    """How many tokens of each layer are in the recent window: those of frames from `first_token_id` on. -> L"""
    ids = memory.slabs.token_ids[:, memory.slot, memory.prefix_length : memory.longest]
    lengths = transfer.to_device(torch.tensor(memory.lengths), ids.device) - memory.prefix_length
    is_valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    counts: list[int] = ((ids >= first_token_id) & is_valid).sum(dim=1).tolist()
    return counts


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a compaction leaves of a memory. layers: the tokens of each layer after its prefix."""

    layers: tuple[CachedTokens, ...]
    next_position: int
    reach: int
    has_summaries: bool


def decide(
    memory: Memory,
    attention: Sequence[Tensor],
    plans: Sequence[LayerPlan],
    *,
    policy: Policy,
    budget: int,
    first_recent_id: int,
) -> Remaining:
    """What stays: at most `budget` tokens of each layer after its prefix. attention: scores, L × [N_l]

    The policy decides what to evict. The recent window, all tokens from id `first_recent_id` on, stays whole and is
    not in the policy's view. Tokens that are kept keep their keys, values and positions exactly. `apply` writes it.
    """
    each = zip(window_lengths(memory, first_recent_id), attention, plans, strict=True)
    view = tuple(
        _view(memory.after_prefix(index), window, scores, plan, budget)
        for index, (window, scores, plan) in enumerate(each)
    )
    layers: list[CachedTokens] = []
    next_position, reach, has_summaries = memory.next_position, memory.reach, memory.has_summaries
    for layer, retention in zip(view, policy.decide(view), strict=True):
        if not retention.folded:
            layers.append(layer.after_prefix.at(_with_window(layer, retention.kept)))
            continue
        summaries = _summaries(memory, layer, retention, policy)
        past = CachedTokens.concat(layer.tokens.at(retention.kept), *summaries).by_position()
        layers.append(CachedTokens.concat(past, layer.window))
        next_position = max(next_position, int(layers[-1].positions[-1]) + 1)
        reach = max(reach, *(int(summary.moved.abs()) for summary in summaries))
        has_summaries = True
    return Remaining(tuple(layers), next_position, reach, has_summaries)


def apply(memory: Memory, remaining: Remaining) -> None:
    """Makes a memory what a compaction leaves of it. Allocates nothing, so what can fail has failed before."""
    memory.compact(
        remaining.layers,
        next_position=remaining.next_position,
        reach=remaining.reach,
        has_summaries=remaining.has_summaries,
    )


def _view(tokens: CachedTokens, window: int, attention: Tensor, plan: LayerPlan, budget: int) -> LayerView:
    """The policy's view of a layer: all but the window, which comes off the budget."""
    return LayerView(tokens, attention[: len(tokens) - window], plan, max(budget - window, 0))


def _with_window(layer: LayerView, kept: Tensor) -> Tensor:
    """The indices of kept tokens, then those of the W tokens of the window. [K] -> [K + W]"""
    start, end = len(layer.attention), len(layer.after_prefix)
    return kept if start == end else torch.cat((kept, torch.arange(start, end, device=kept.device)))


def _summaries(memory: Memory, layer: LayerView, retention: Retention, policy: Policy) -> list[CachedTokens]:
    """One token for each group that the policy folds."""
    kept, positions = layer.tokens.at(retention.kept), memory.slabs.shape.positions
    return [
        dataclasses.replace(
            policy.summarize(layer.tokens.at(folded), kept, positions),
            token_ids=folded.new_full((1,), _summary_id(memory, group)),
        )
        for group, folded in enumerate(retention.folded)
    ]


def _summary_id(memory: Memory, group: int) -> int:
    """Negative, and the same in every layer for the same group of one compaction."""
    return -1 - memory.compactions * _MAX_GROUPS - group
