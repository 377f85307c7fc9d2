"""The queries of tokens, kept so that the attention weights of many are computed at once, when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cache_store.memory import Memory
from models.shared_base import cached_of
from ops import attention as attention_ops


@dataclass(frozen=True, slots=True)
class LayerQueries:
    """The queries of the last new token of each memory of a pass, in one layer. [B, Hq, D], [B, Hq]

    normalizer: the log-sum-exp of the token's logits over all that it attends to.
    """

    queries: Tensor
    normalizer: Tensor
    scaling: float

    def empty(self, rows: int) -> LayerQueries:
        """Queries alike of `rows` memories, not yet filled."""
        queries, normalizer = (tensor.new_empty(rows, *tensor.shape[1:]) for tensor in (self.queries, self.normalizer))
        return LayerQueries(queries, normalizer, self.scaling)


@dataclass(slots=True)
class QueryCapture:
    """What to record of a pass instead of attention weights. After the pass `layers` holds each recorded layer's."""

    is_recorded: Sequence[bool]
    layers: dict[int, LayerQueries] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenQueries:
    """The queries of one token: those of its pass, and the row of its memory there."""

    layers: dict[int, LayerQueries]
    row: int


def summed_weights(tokens: Sequence[TokenQueries], layer: int, memory: Memory) -> Tensor:
    """The attention weights of these tokens on each cached token of a layer, summed. -> [N], float32"""
    queries = torch.stack([token.layers[layer].queries[token.row] for token in tokens], dim=1)
    normalizer = torch.stack([token.layers[layer].normalizer[token.row] for token in tokens], dim=1)
    scaling = tokens[0].layers[layer].scaling
    weights = attention_ops.reduced_weights(
        queries[None], cached_of(memory, layer), normalizer[None], scaling, attention_ops.summed_weight
    )
    return weights[0]
