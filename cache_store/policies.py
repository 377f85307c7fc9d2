"""What to keep of a memory and what to fold away: plain callables over a read-only view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from cache_store.memory import CachedTokens
from cache_store.tiers import LayerPlan, PolicyName
from ops import retention, scores, smoothing


@dataclass(frozen=True, slots=True)
class LayerView:
    """What a policy may look at: the tokens of one layer between its prefix and its recent window.

    attention: [N], how much the guidance looks at each; budget: how many of them may stay, summaries included.
    """

    tokens: CachedTokens
    attention: Tensor
    plan: LayerPlan
    budget: int
    tokens_per_frame: int

    @property
    def frames(self) -> Tensor:
        """Which frame each token is of; negative for summaries. -> [N]"""
        return self.tokens.token_ids // self.tokens_per_frame


MemoryView = tuple[LayerView, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """The verdict on one layer, as places in its view, oldest first: each group of `folded` becomes one summary.

    What is in neither is dropped.
    """

    kept: Tensor
    folded: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class SummaryRule:
    """How folded tokens become one."""

    is_weighted: bool  # by count, and the count weighs in attention
    is_newest: bool  # placed after the last kept token, else in the middle of those it stands for


CORRECTED = SummaryRule(is_weighted=True, is_newest=False)
PUBLISHED = SummaryRule(is_weighted=False, is_newest=True)


class Guide(StrEnum):
    """Whose attention a policy wants to see."""

    QUESTIONS = "questions"  # the most that any word of a bank of questions puts on a token
    ROLES = "roles"  # the mean of the prompt that goes with the layer's role (HERMES, section 3.2)
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    decide: Callable[[MemoryView], list[Retention]]
    guide: Guide
    summary: SummaryRule = CORRECTED


def by_peak_attention(view: MemoryView) -> list[Retention]:
    """What the guidance looks at most, in every layer for itself; the rest is dropped."""
    return [retain(layer.attention, layer.budget, folds_evicted=False) for layer in view]


def hermes(view: MemoryView) -> list[Retention]:
    """The best of attention blended with recency, smoothed from deep layers to shallow (HERMES, section 3)."""
    return blended_and_smoothed(view, [layer.tokens.token_ids for layer in view])


def blended_and_smoothed(view: MemoryView, ids: Sequence[Tensor]) -> list[Retention]:
    """HERMES, with the tokens of neighbouring layers matched by these ids. L × [N_l]"""
    blended = [scores.blend(layer.attention, layer.plan.recency_share, layer.plan.recency_decay) for layer in view]
    smoothed = smoothing.smooth(blended, ids, [layer.plan.smoothing_share for layer in view])
    return [
        retain(layer_scores, layer.budget, folds_evicted=layer.plan.folds_evicted)
        for layer, layer_scores in zip(view, smoothed, strict=True)
    ]


def retain(layer_scores: Tensor, budget: int, *, folds_evicted: bool) -> Retention:
    """Keeps the highest scores; where the rest is folded, its summary takes one place of the budget. [N]"""
    num_tokens = layer_scores.numel()
    is_over = num_tokens > budget
    kept = retention.keep_top(layer_scores, max(budget - 1, 0) if is_over and folds_evicted else budget)
    return Retention(kept, (retention.others(kept, num_tokens),) if is_over and folds_evicted else ())


POLICIES = {
    PolicyName.QUESTIONS: Policy(by_peak_attention, Guide.QUESTIONS),
    PolicyName.HERMES: Policy(hermes, Guide.ROLES),
}
