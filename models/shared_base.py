"""Answers that share a memory: each has its own question and words behind it, and the memory is read once for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.memory import Memory
from ops import attention as attention_ops
from ops import transfer
from ops.attention import Cached
from ops.fused_attention import Attended


@dataclass(frozen=True, slots=True)
class _Share:
    """A memory that some rows of a pass continue. span: their new tokens, among those of all rows that continue one."""

    base: Memory
    span: slice


class SharedBases:
    """The memories that those of a pass continue, e.g. a copy that several answers share.

    tokens: the packed places of the new tokens of memories that continue one; None if no memory does, or if all do and
    the places are in order.
    """

    def __init__(self, memories: Sequence[Memory], spans: Sequence[slice]) -> None:
        rows_of: dict[int, list[int]] = {}
        for row, memory in enumerate(memories):
            if memory.base is not None:
                rows_of.setdefault(id(memory.base), []).append(row)
        tokens: list[int] = []
        self.shares: list[_Share] = []
        for rows in rows_of.values():
            start, base = len(tokens), memories[rows[0]].base
            assert base is not None
            tokens += [place for row in rows for place in range(spans[row].start, spans[row].stop)]
            self.shares.append(_Share(base, slice(start, len(tokens))))
        has_all = tokens == list(range(spans[-1].stop))
        self.tokens = (
            None if has_all or not tokens else transfer.to_device(torch.tensor(tokens), memories[0].slabs.shape.device)
        )

    def attend(self, queries: Tensor, layer: int, scaling: float) -> Attended:
        """The attention of the new tokens over their bases alone. [1, Hq, T, D] -> [T, Hq, D], [T, Hq]"""
        parts = [
            attention_ops.attend_to_cached(queries[:, :, share.span], cached_of(share.base, layer), scaling)
            for share in self.shares
        ]
        attended, normalizer = (
            parts[0] if len(parts) == 1 else (torch.cat(part, dim=2) for part in zip(*parts, strict=True))
        )
        return attended[0].transpose(0, 1), normalizer[0].T


def pick(tensor: Tensor, dim: int, places: Tensor | None) -> Tensor:
    """The part of a tensor at these places, all of it if None."""
    return tensor if places is None else tensor.index_select(dim, places.to(tensor.device))


def cached_of(memory: Memory, layer: int) -> Cached:
    """The valid tokens of a layer, as attention reads them."""
    counts = memory.layer(layer).counts if memory.has_summaries else None
    return Cached(memory.keys(layer)[None], memory.values(layer)[None], counts)
