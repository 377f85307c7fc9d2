"""Memories of one length whose slots follow each other: a pass writes and reads them as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from cache_store.memory import Memory
from models.shared_base import cached_of
from ops import attention as attention_ops
from ops.attention import Cached

_MAX_MASKED = 1 << 16  # new tokens times all; where a mask begins to cost more than two calls was not measured


class SlotRun:
    """R memories of the same lengths, in slots that follow each other, that append T tokens each.

    span: of their new tokens in the packed row. first_row: the place of the first memory in its pass.
    """

    def __init__(self, memories: Sequence[Memory], first_row: int, span: slice) -> None:
        self.memories = memories
        self.first_row = first_row
        self._span = span
        self._slabs = memories[0].slabs
        self._slots = slice(memories[0].slot, memories[0].slot + len(memories))
        self._num_new = (span.stop - span.start) // len(memories)
        self._is_plain = all(memory.is_plain for memory in memories)
        self._masks: dict[int, Tensor] = {}  # by the number of valid tokens of a layer

    def unpack(self, states: Tensor) -> Tensor:
        """These memories' part of a packed row, as a batch. [1, H, sum of T_b, D] -> [R, H, T, D]"""
        span, rows = self._span, len(self.memories)
        part = states if states.shape[2] == span.stop - span.start else states[:, :, span]
        return part if rows == 1 else torch.unflatten(part[0], 1, (rows, -1)).transpose(0, 1)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Writes new keys and values behind the valid tokens of each memory. [R, H, T, D] twice"""
        self._slabs.write(layer, self._slots, self.memories[0].lengths[layer], keys, values)

    def is_in_place(self, layer: int) -> bool:
        """Whether `read` is the fastest way to attend to the tokens of a layer: on a CPU, where they are few."""
        keys, end = self._slabs.keys[layer], self.memories[0].lengths[layer] + self._num_new
        return self._is_plain and keys.device.type == "cpu" and self._num_new * end <= _MAX_MASKED

    def read(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of plain memories up to the new ones, which are written, and what masks those behind each.

        [R, H, N, D] twice, [1, 1, T, N]
        """
        length = self.memories[0].lengths[layer]
        keys, values = self._slabs.read(layer, self._slots, length + self._num_new)
        if length not in self._masks:
            self._masks[length] = attention_ops.causal_mask(self._num_new, keys, length)[None, None]
        return keys, values, self._masks[length]

    def cached(self, layer: int) -> Cached:
        """The valid tokens of each memory. R × N"""
        if len(self.memories) == 1:
            return cached_of(self.memories[0], layer)
        length, reach = self.memories[0].lengths[layer], max(memory.reach for memory in self.memories)
        keys, values = self._slabs.read(layer, self._slots, length)
        if reach:
            moved = self._slabs.moved[layer, self._slots, :length]
            keys = self._slabs.shape.positions.shift(keys, moved, reach)
        return Cached(keys, values)


def runs_of(memories: Sequence[Memory], spans: Sequence[slice]) -> list[SlotRun]:
    """The memories in runs of those that one batch can read."""
    lengths = [span.stop - span.start for span in spans]
    starts = [0] + [
        row
        for row, (before, memory) in enumerate(pairwise(memories), start=1)
        if lengths[row] != lengths[row - 1] or not _can_follow(before, memory)
    ]
    return [
        SlotRun(memories[start:end], start, slice(spans[start].start, spans[end - 1].stop))
        for start, end in zip(starts, [*starts[1:], len(memories)], strict=True)
    ]


def _can_follow(before: Memory, memory: Memory) -> bool:
    """Whether one batch can read a memory and the one before it."""
    return (
        memory.slabs is before.slabs
        and memory.slot == before.slot + 1
        and memory.lengths == before.lengths
        and (memory.base is None) == (before.base is None)
        and not (memory.has_summaries or before.has_summaries)
    )
