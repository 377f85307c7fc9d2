"""What a compaction keeps and what it evicts, dropped or folded into summaries: plain callables over a view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from cache_store import summaries, token_ids
from cache_store.cached_tokens import CachedTokens
from cache_store.positions import Positions
from cache_store.tiers import LayerPlan, PolicyName
from ops import retention, scores, smoothing


@dataclass(frozen=True, slots=True)
class LayerView:
    """What a policy may read: the tokens of one layer between its prefix and its recent window.

    attention: [N], the score of each token; budget: how many of them may stay, summaries included.
    """

    tokens: CachedTokens
    attention: Tensor
    plan: LayerPlan
    budget: int

    @property
    def frames(self) -> Tensor:
        """The frame number of each token; negative for summaries. -> [N]"""
        return token_ids.frames_of(self.tokens.token_ids)


MemoryView = tuple[LayerView, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """The decision on one layer, as indices into its view, oldest first: `kept` stay, each group of `folded` becomes
    one summary, all others are dropped. Every token that is not kept is evicted.
    """

    kept: Tensor
    folded: tuple[Tensor, ...] = ()


Decision = Callable[[MemoryView], list[Retention]]
Summarize = Callable[[CachedTokens, CachedTokens, Positions], CachedTokens]


@dataclass(frozen=True, slots=True)
class Policy:
    """decide: what becomes of each token, layer by layer; summarize: one token from folded tokens, kept tokens and the
    decoder's positions.
    """

    decide: Decision
    summarize: Summarize = summaries.weighted_summary


def by_peak_attention(view: MemoryView) -> list[Retention]:
    """Keeps the tokens with the highest attention, in each layer by itself, and evicts the rest."""
    return [retain(layer.attention, layer.budget, folds_evicted=False) for layer in view]


def hermes(view: MemoryView) -> list[Retention]:
    """Keeps the highest blends of attention and recency, smoothed from deep layers to shallow (HERMES, section 3)."""
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
    """Keeps the highest scores. With `folds_evicted` the rest becomes one summary, counted in the budget. [N]"""
    num_tokens = layer_scores.numel()
    is_over = num_tokens > budget
    kept = retention.keep_top(layer_scores, max(budget - 1, 0) if is_over and folds_evicted else budget)
    return Retention(kept, (retention.evicted(kept, num_tokens),) if is_over and folds_evicted else ())


POLICIES = {
    PolicyName.QUESTIONS: Policy(by_peak_attention),
    PolicyName.HERMES: Policy(hermes),
}
