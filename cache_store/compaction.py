"""Compaction: evicts, by dropping or folding, what a policy does not keep, so that a memory fits its budget again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cache_store.memory import CachedTokens, Memory
from cache_store.policies import LayerView, Policy
from cache_store.tiers import LayerPlan

_MAX_GROUPS = 1 << 20  # summaries of one compaction in one layer


def is_due(memory: Memory, budget: int) -> bool:
    """Whether any layer holds more than `budget` tokens after its prefix."""
    return memory.longest - memory.prefix_length > budget


def window_lengths(memory: Memory, first_token_id: int) -> list[int]:
    """How many tokens of each layer are in the recent window: those of frames from `first_token_id` on. -> L"""
    slabs = memory.slabs
    counts = [
        (slabs.token_ids[index, memory.slot, memory.prefix_length : length] >= first_token_id).sum()
        for index, length in enumerate(memory.lengths)
    ]
    return [int(count) for count in counts]


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a compaction leaves of a memory. layers: the tokens of each layer after its prefix."""

    layers: tuple[CachedTokens, ...]
    next_position: int
    reach: int


def decide(
    memory: Memory,
    attention: Sequence[Tensor],
    plans: Sequence[LayerPlan],
    *,
    policy: Policy,
    budget: int,
    first_recent_id: int,
    tokens_per_frame: int,
) -> Remaining:
    """What stays: at most `budget` tokens of each layer after its prefix. attention: scores, L × [N_l]

    The policy decides what to evict. The recent window, all tokens from id `first_recent_id` on, stays whole and is
    not in the policy's view. Tokens that are kept keep their keys, values and positions exactly. `apply` writes it.
    """
    windows = window_lengths(memory, first_recent_id)
    view = tuple(
        _view(memory, index, attention[index], plans[index], window, budget - window, tokens_per_frame)
        for index, window in enumerate(windows)
    )
    layers: list[CachedTokens] = []
    reach = memory.reach
    for index, (layer, retention) in enumerate(zip(view, policy.decide(view), strict=True)):
        past = kept = layer.tokens.at(retention.kept)
        if retention.folded:
            summaries = [
                dataclasses.replace(
                    policy.summarize(layer.tokens.at(folded), kept, memory.slabs.frequency),
                    token_ids=folded.new_full((1,), _summary_id(memory, group)),
                )
                for group, folded in enumerate(retention.folded)
            ]
            past = CachedTokens.concat(kept, *summaries).by_position()
            reach = max(reach, *(int(summary.moved.abs()) for summary in summaries))
        layers.append(CachedTokens.concat(past, _recent(memory, index, windows[index])))
    newest = max((int(tokens.positions[-1]) for tokens in layers if len(tokens)), default=-1)
    return Remaining(tuple(layers), max(memory.next_position, newest + 1), reach)


def apply(memory: Memory, remaining: Remaining) -> None:
    """Makes a memory what a compaction leaves of it. Allocates nothing, so what can fail has failed before."""
    for index, tokens in enumerate(remaining.layers):
        memory.replace(index, tokens)
    memory.compactions += 1
    memory.next_position = remaining.next_position
    memory.reach = remaining.reach


def _view(
    memory: Memory,
    index: int,
    attention: Tensor,
    plan: LayerPlan,
    window: int,
    budget: int,
    tokens_per_frame: int,
) -> LayerView:
    tokens = memory.after_prefix(index)
    num_past = len(tokens) - window
    return LayerView(tokens.slice(0, num_past), attention[:num_past], plan, max(budget, 0), tokens_per_frame)


def _recent(memory: Memory, index: int, window: int) -> CachedTokens:
    tokens = memory.after_prefix(index)
    return tokens.slice(len(tokens) - window, len(tokens))


def _summary_id(memory: Memory, group: int) -> int:
    """Negative, and the same in every layer for the same group of one compaction."""
    return -1 - memory.compactions * _MAX_GROUPS - group
