"""Answers that share a memory: each has its own question and words behind it, and the memory is read once for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.memory import Memory
from ops import attention as attention_ops
from ops.attention import Attended, Cached, Reduce


@dataclass(frozen=True, slots=True)
class SharedBase:
    """What a pass reads of one memory that lies before several of its own.

    rows: which memories of the pass those are. tokens: the places of their new tokens in the packed row. newest: where
    the last one of each is among `tokens`. None: all of them, which need not be picked.
    """

    base: Memory
    rows: tuple[int, ...]
    tokens: Tensor | None
    newest: Tensor | None

    def attend(self, queries: Tensor, layer: int, scaling: float) -> Attended:
        """The attention of the new tokens over the base alone. [1, Hq, sum of T_b, D] -> [1, Hq, T, D]"""
        return attention_ops.attend_to_cached(pick(queries, 2, self.tokens), cached_of(self.base, layer), scaling)

    def weights(
        self, queries: Tensor, normalizer: Tensor, layer: int, scaling: float, reduce: Reduce
    ) -> dict[int, Tensor]:
        """The reduced attention weights of each memory's newest token on the base. [1, Hq, T, D], [1, Hq, T]"""
        by_row = attention_ops.reduced_weights(
            pick(pick(queries, 2, self.tokens), 2, self.newest),
            cached_of(self.base, layer),
            pick(normalizer, 2, self.newest),
            scaling,
            lambda weights: reduce(weights[0].transpose(0, 1)[:, :, None]),
        )
        return dict(zip(self.rows, by_row.to(self.base.slabs.shape.device), strict=True))


def pick(tensor: Tensor, dim: int, places: Tensor | None) -> Tensor:
    """The part of a tensor at these places, all of it if None."""
    return tensor if places is None else tensor.index_select(dim, places.to(tensor.device))


def cached_of(memory: Memory, layer: int) -> Cached:
    """The valid tokens of a layer, as attention reads them."""
    counts = memory.layer(layer).counts if memory.has_summaries else None
    return Cached(memory.keys(layer)[None], memory.values(layer)[None], counts)


def shared_bases(memories: Sequence[Memory], spans: Sequence[slice]) -> list[SharedBase]:
    """One for each memory that lies before some of these; either all of them have one before them or none."""
    rows_of: dict[int, list[int]] = {}
    for row, memory in enumerate(memories):
        if memory.base is not None:
            rows_of.setdefault(id(memory.base), []).append(row)
    assert sum(map(len, rows_of.values())) in (0, len(memories))
    return [_shared_base(memories, spans, rows) for rows in rows_of.values()]


def _shared_base(memories: Sequence[Memory], spans: Sequence[slice], rows: Sequence[int]) -> SharedBase:
    base = memories[rows[0]].base
    assert base is not None
    tokens = [place for row in rows for place in range(spans[row].start, spans[row].stop)]
    ends = torch.tensor([spans[row].stop - spans[row].start for row in rows]).cumsum(0) - 1
    device, has_all = base.slabs.shape.device, len(rows) == len(memories)
    return SharedBase(
        base,
        tuple(rows),
        None if has_all else torch.tensor(tokens).to(device),
        None if len(rows) == len(tokens) else ends.to(device),
    )
