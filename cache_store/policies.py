"""What to keep of a memory and what to fold away: plain callables over a read-only view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cache_store import memory, tiers
from ops import retention, scores, smoothing


@dataclass(frozen=True, slots=True)
class LayerView:
    """What a policy may look at: the tokens of one layer between its prefix and its recent window.

    attention: [N], the weight of the guidance prompt on each; budget: how many of them may stay, a summary
    included.
    """

    tokens: memory.CachedTokens
    attention: Tensor
    plan: tiers.LayerPlan
    budget: int


MemoryView = tuple[LayerView, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """The verdict on one layer, as places in its view, oldest first. What is in neither is dropped."""

    kept: Tensor
    folded: Tensor


@dataclass(frozen=True, slots=True)
class SummaryRule:
    """How the folded tokens of a layer become one."""

    is_weighted: bool  # by count, and the count weighs in attention
    is_newest: bool  # placed after the last kept token, else in the middle of those it stands for


@dataclass(frozen=True, slots=True)
class Policy:
    decide: Callable[[MemoryView], list[Retention]]
    summary: SummaryRule


def hermes(view: MemoryView) -> list[Retention]:
    """The best of attention blended with recency, smoothed from deep layers to shallow (HERMES, section 3)."""
    blended = [scores.blend(layer.attention, layer.plan.recency_share, layer.plan.recency_decay) for layer in view]
    smoothed = smoothing.smooth(
        blended, [layer.tokens.token_ids for layer in view], [layer.plan.smoothing_share for layer in view]
    )
    return [
        retain(layer_scores, layer.budget, folds_evicted=layer.plan.folds_evicted)
        for layer, layer_scores in zip(view, smoothed, strict=True)
    ]


def attention_only(view: MemoryView) -> list[Retention]:
    """What the guidance prompt looks at most, in every layer; the rest is dropped."""
    return [retain(layer.attention, layer.budget, folds_evicted=False) for layer in view]


def retain(layer_scores: Tensor, budget: int, *, folds_evicted: bool) -> Retention:
    """Keeps the highest scores; where the rest is folded, its summary takes one place of the budget. [N]"""
    num_tokens = layer_scores.numel()
    is_over = num_tokens > budget
    kept = retention.keep_top(layer_scores, max(budget - 1, 0) if is_over and folds_evicted else budget)
    evicted = retention.others(kept, num_tokens)
    return Retention(kept=kept, folded=evicted if folds_evicted else evicted[:0])


_CORRECTED = SummaryRule(is_weighted=True, is_newest=False)
_PUBLISHED = SummaryRule(is_weighted=False, is_newest=True)

POLICIES = {
    tiers.PolicyName.HERMES: Policy(hermes, _CORRECTED),
    tiers.PolicyName.REFERENCE: Policy(hermes, _PUBLISHED),
    tiers.PolicyName.ATTENTION: Policy(attention_only, _CORRECTED),
}
