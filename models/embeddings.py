"""What a decoder reads of tokens: their embeddings, and for some families more that joins behind its first layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Tokens ready for the decoder. [..., T, E]

    deep: for families with DeepStack, what is added to the hidden states behind the decoder's layers 0, 1, ...; empty
    where nothing is added. K × [..., T, E]
    """

    tokens: Tensor
    deep: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return self.tokens.shape[-2]

    def map(self, function: Callable[[Tensor], Tensor]) -> Embeddings:
        """Each tensor replaced by `function(tensor)`."""
        return Embeddings(function(self.tokens), tuple(function(layer) for layer in self.deep))

    def at(self, indices: Tensor) -> Embeddings:
        """The tokens at these indices, in their order. [K]"""
        return self.map(lambda tensor: tensor.index_select(-2, indices))

    def scatter(self, indices: Tensor, others: Embeddings) -> Embeddings:
        """These tokens with others in the places `indices`; what lacks a deep layer adds zeros. [T, E], [K], [K, E]"""
        deep = self.deep or tuple(torch.zeros_like(self.tokens) for _ in others.deep)
        zeros = others.deep or tuple(torch.zeros_like(others.tokens) for _ in deep)
        return Embeddings(
            self.tokens.index_copy(-2, indices, others.tokens),
            tuple(mine.index_copy(-2, indices, other) for mine, other in zip(deep, zeros, strict=True)),
        )

    @staticmethod
    def concat(*parts: Embeddings) -> Embeddings:
        """The tokens of all parts, one part after the other."""
        depth = max(len(part.deep) for part in parts)
        filled = [part.deep or tuple(torch.zeros_like(part.tokens) for _ in range(depth)) for part in parts]
        return Embeddings(
            torch.cat([part.tokens for part in parts], dim=-2),
            tuple(torch.cat(layers, dim=-2) for layers in zip(*filled, strict=True)),
        )

    @staticmethod
    def pack(rows: Sequence[Embeddings]) -> Embeddings:
        """The new tokens of B memories side by side, as a pass reads them. B × [T_b, E] -> [1, sum of T_b, E]"""
        return Embeddings.concat(*rows).map(lambda tensor: tensor[None])
