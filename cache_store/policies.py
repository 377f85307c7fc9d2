"""What a compaction keeps and what it evicts, dropped or folded into summaries: plain callables over a view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store import summaries, token_ids
from cache_store.cached_tokens import CachedTokens
from cache_store.positions import Positions
from cache_store.tiers import LayerPlan, PolicyName
from ops import retention, scores, smoothing


@dataclass(frozen=True, slots=True)
class LayerView:
    """What a policy may read: the tokens of one layer between its prefix and its recent window.

    after_prefix: those of the window too, as the last ones. attention: [N], the score of each token before the window;
    budget: how many of them may stay, summaries included.
    """

    after_prefix: CachedTokens
    attention: Tensor
    plan: LayerPlan
    budget: int

    @property
    def tokens(self) -> CachedTokens:
        """The tokens that the policy decides on. Made when it is read: not every policy looks at tokens. N"""
        return self.after_prefix.slice(0, len(self.attention))

    @property
    def window(self) -> CachedTokens:
        """The tokens of the recent window."""
        return self.after_prefix.slice(len(self.attention), len(self.after_prefix))

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
    decoder's positions. keeps_window: whether the newest frames stay whole in every layer and are not in the view.
    """

    decide: Decision
    summarize: Summarize = summaries.weighted_summary
    keeps_window: bool = True


def by_peak_attention(view: MemoryView) -> list[Retention]:
    """Keeps the tokens with the highest attention, in each layer by itself, and evicts the rest."""
    return keep_highest(view, [layer.attention for layer in view])


def hermes(view: MemoryView) -> list[Retention]:
    """Keeps the highest blends of attention and recency, smoothed from deep layers to shallow (HERMES, section 3)."""
    smoothed = smoothing.smooth(
        blended(view), [layer.tokens.token_ids for layer in view], [layer.plan.smoothing_share for layer in view]
    )
    return keep_highest(view, smoothed)


def blended(view: MemoryView) -> list[Tensor]:
    """Attention and recency in the shares of each layer (HERMES, section 3.2). -> L × [N_l]"""
    return [scores.blend(layer.attention, layer.plan.recency_share, layer.plan.recency_decay) for layer in view]


def keep_highest(view: MemoryView, scores_by_layer: Sequence[Tensor]) -> list[Retention]:
    """Keeps the tokens with the highest scores of each layer and drops the rest. L × [N_l]

    Layers that are alike are one call.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for index, (layer, of_layer) in enumerate(zip(view, scores_by_layer, strict=True)):
        alike.setdefault((len(of_layer), layer.budget), []).append(index)
    kept: dict[int, Tensor] = {}
    for (_, budget), layers in alike.items():
        together = retention.keep_top(torch.stack([scores_by_layer[index] for index in layers]), budget)
        kept.update(zip(layers, together, strict=True))
    return [Retention(kept[index]) for index in range(len(view))]


POLICIES = {
    PolicyName.QUESTIONS: Policy(by_peak_attention),
    # Its shallow layers keep the newest frames; a window in every layer would take a third of a small budget.
    PolicyName.HERMES: Policy(hermes, keeps_window=False),
}
