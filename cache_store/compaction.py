"""A memory cut back to its budget, as a policy decides."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cache_store import memory
from cache_store.memory import CachedTokens, Memory
from cache_store.policies import LayerView, Policy, SummaryRule
from cache_store.tiers import LayerPlan
from ops import folding

_MOST_GROUPS = 1 << 20  # of one compaction


def is_due(held: Memory, budget: int) -> bool:
    """Whether any layer holds more than `budget` tokens after its prefix."""
    return held.longest - held.prefix_length > budget


def window_lengths(held: Memory, first_token_id: int) -> list[int]:
    """How many of each layer's newest tokens are of frames from `first_token_id` on: the recent window."""
    room = held.slabs
    counts = [
        (room.token_ids[index, held.slot, held.prefix_length : length] >= first_token_id).sum()
        for index, length in enumerate(held.lengths)
    ]
    return [int(count) for count in counts]


def compact(
    held: Memory,
    attention: Sequence[Tensor],
    plans: Sequence[LayerPlan],
    *,
    policy: Policy,
    budget: int,
    first_recent_id: int,
    tokens_per_frame: int,
    frequency: Tensor,
) -> None:
    """Cuts every layer back to `budget` tokens after the prefix; a no-op below it. attention: L × [N_l]

    The recent window, all tokens from id `first_recent_id` on, stays whole and outside of the policy's view.
    Mutates `held`; what stays keeps its keys, values and positions to the bit.
    """
    if not is_due(held, budget):
        return
    windows = window_lengths(held, first_recent_id)
    view = tuple(
        _view(held, index, attention[index], plans[index], window, budget - window, tokens_per_frame)
        for index, window in enumerate(windows)
    )
    for index, (layer, verdict) in enumerate(zip(view, policy.decide(view), strict=True)):
        past = layer.tokens.at(verdict.kept)
        if verdict.folded:
            summaries = [
                _summary(layer.tokens, verdict.kept, folded, policy.summary, _summary_id(held, group), frequency)
                for group, folded in enumerate(verdict.folded)
            ]
            past = memory.joined(past, *summaries).by_position()
        held.replace(index, memory.joined(past, _recent(held, index, windows[index])))
    held.compactions += 1
    held.next_position = max(held.next_position, _newest_position(held) + 1)


def _view(
    held: Memory,
    index: int,
    attention: Tensor,
    plan: LayerPlan,
    window: int,
    budget: int,
    tokens_per_frame: int,
) -> LayerView:
    tokens = held.remembered(index)
    past = len(tokens) - window
    return LayerView(tokens.slice(0, past), attention[:past], plan, max(budget, 0), tokens_per_frame)


def _recent(held: Memory, index: int, window: int) -> CachedTokens:
    tokens = held.remembered(index)
    return tokens.slice(len(tokens) - window, len(tokens))


def _newest_position(held: Memory) -> int:
    return max(int(held.layer(index).positions[-1]) for index in range(held.num_layers))


def _summary_id(held: Memory, group: int) -> int:
    """Negative, and the same in every layer for the same group of one compaction."""
    return -1 - held.compactions * _MOST_GROUPS - group


def _summary(
    tokens: CachedTokens,
    kept: Tensor,
    folded: Tensor,
    rule: SummaryRule,
    token_id: int,
    frequency: Tensor,
) -> CachedTokens:
    """One token for all the folded ones, as CachedTokens of length one."""
    evicted = tokens.at(folded)
    counts = evicted.counts if rule.is_weighted else evicted.counts.new_ones(len(evicted))
    middle = evicted.positions[(len(evicted) - 1) // 2]
    newest = tokens.positions[kept[-1]] + 1 if kept.numel() else middle
    position = newest if rule.is_newest else middle
    mean = folding.fold(evicted.keys, evicted.values, evicted.positions, counts, position=position, frequency=frequency)
    count = evicted.counts.sum() if rule.is_weighted else counts[0]
    return CachedTokens(
        keys=mean.key[:, None],
        values=mean.value[:, None],
        positions=position.reshape(1),
        token_ids=position.new_full((1,), token_id),
        counts=count.reshape(1),
        times_s=evicted.times_s[-1:],
    )
