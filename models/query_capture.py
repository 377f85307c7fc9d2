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
    """Of the last new token of each memory of a pass, in one layer. [B, Hq, D], [B, Hq]

    normalizer: the logarithm of what the token's exponentials sum up to, over all that it attends to.
    """

    queries: Tensor
    normalizer: Tensor
    scaling: float

    def empty(self, rows: int) -> LayerQueries:
        """Room for those of so many tokens of the layer."""
        queries, normalizer = (tensor.new_empty(rows, *tensor.shape[1:]) for tensor in (self.queries, self.normalizer))
        return LayerQueries(queries, normalizer, self.scaling)


@dataclass(slots=True)
class QueryCapture:
    """What to record of a pass instead of attention weights. After the pass `layers` holds each recorded layer's."""

    is_recorded: Sequence[bool]
    layers: dict[int, LayerQueries] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenQueries:
    """Those of one token: the row of its memory in the pass."""

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
