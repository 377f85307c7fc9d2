"""One new token for each of several memories whose slots follow each other: their slabs are read as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store.memory import Memory


class DecodeRun:
    """R plain memories in slots that follow each other, each with one new token.

    Nothing is copied, and nothing is masked where all are of one length. first: the place of the first memory in its
    pass.
    """

    def __init__(self, memories: Sequence[Memory], first: int) -> None:
        self.memories = memories
        self.span = slice(first, first + len(memories))
        first_slot = memories[0].slot
        self._slots = memories[0].slabs.neighbours(slice(first_slot, first_slot + len(memories)))
        self._lengths = list(zip(*(memory.lengths for memory in memories), strict=True))  # of each layer
        self._places: dict[tuple[int, ...], Tensor] = {}  # of the new tokens, by the lengths of a layer
        self._masks: dict[tuple[int, ...], Tensor | None] = {}

    def unpack(self, states: Tensor) -> Tensor:
        """These memories' part of a packed row, as a batch. [1, H, B, D] -> [R, H, 1, D]"""
        has_all = states.shape[2] == len(self.memories)
        part = states if has_all else states.narrow(2, self.span.start, len(self.memories))
        return part if len(self.memories) == 1 else part.transpose(0, 2)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Writes each memory's new key and value behind its valid tokens. [R, H, 1, D] twice"""
        lengths = self._lengths[layer]
        is_one_place = len(set(lengths)) == 1
        for slab, new in zip(self._slots[layer], (keys, values), strict=True):
            if is_one_place:
                slab.narrow(2, lengths[0], 1).copy_(new)
            else:
                slab.scatter_(2, self._places_of(lengths, new), new)

    def read(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values up to the longest memory's new token, and what masks those behind the others'.

        [R, H, N, D] twice, [R, 1, 1, N]
        """
        lengths = self._lengths[layer]
        keys, values = (slab.narrow(2, 0, max(lengths) + 1) for slab in self._slots[layer])
        if lengths not in self._masks:
            self._masks[lengths] = _mask(lengths, keys)
        mask = self._masks[lengths]
        return keys, values, mask if mask is None else mask.to(keys.device)

    def _places_of(self, lengths: tuple[int, ...], new: Tensor) -> Tensor:
        if lengths not in self._places:
            self._places[lengths] = torch.tensor(lengths, device=new.device)[:, None, None, None]
        return self._places[lengths].to(new.device).expand(new.shape)


def runs_of(memories: Sequence[Memory]) -> list[DecodeRun]:
    """The memories in runs whose slots follow each other."""
    starts = [
        place
        for place, memory in enumerate(memories)
        if not place or memory.slabs is not memories[place - 1].slabs or memory.slot != memories[place - 1].slot + 1
    ]
    return [
        DecodeRun(memories[start:end], start) for start, end in zip(starts, [*starts[1:], len(memories)], strict=True)
    ]


def _mask(lengths: tuple[int, ...], keys: Tensor) -> Tensor | None:
    if len(set(lengths)) == 1:
        return None
    is_behind = torch.arange(keys.shape[2]) > torch.tensor(lengths)[:, None]
    return (
        torch.zeros(is_behind.shape, dtype=keys.dtype)
        .masked_fill_(is_behind, -torch.inf)[:, None, None]
        .to(keys.device)
    )
