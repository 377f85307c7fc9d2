"""One memory: what a slot holds, layer by layer, and the only ways to change it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from cache_store.cached_tokens import PER_TOKEN, TOKEN_AXES, CachedTokens
from cache_store.checkpoint import Checkpoint
from cache_store.extent import Extent
from cache_store.row_format import RowFormat
from cache_store.slabs import Slabs
from ops import quantising


class Memory:
    """One slot of the slabs: the memory of a camera, a copy of it, or the tokens of one answer behind such a copy.

    The first `prefix_length` tokens of every layer are the prompt's prefix: never scored, moved or evicted.
    How many tokens are valid is a number per layer. Owned by the one thread of the device. Only its methods change it.
    version: grows with every change, so equal versions of one memory mean equal contents.
    """

    version = 0
    lengths: Sequence[int]  # valid tokens of each layer, prefix included

    def __init__(self, slabs: Slabs, slot: int) -> None:
        self.slabs = slabs
        self.slot = slot
        self._capacity = [
            CachedTokens(*[getattr(slabs, name)[index][slot] for name, _ in TOKEN_AXES])
            for index in range(slabs.shape.num_layers)
        ]
        self.states = tuple(slab[slot] for slab in slabs.states)  # of recurrent layers
        self.clear()

    def clear(self) -> None:
        """Removes all tokens; the slot is as new."""
        self.prefix_length = 0
        self._prefix_states = tuple(torch.zeros_like(state) for state in self.states)
        self.erase()

    def end_prefix(self) -> None:
        """All tokens so far become the prefix."""
        self.prefix_length = self.longest
        self._prefix_states = tuple(state.clone() for state in self.states)
        self.version += 1

    def erase(self) -> None:
        """Removes all tokens after the prefix, which has never moved."""
        self.base: Memory | None = None  # whose tokens are read as if they lay before these, see `continue_from`
        self.lengths = [self.prefix_length] * self.slabs.shape.num_layers
        self.next_position, self.next_frame = self.prefix_length, 0
        self.origin_s: float | None = None  # the time of the first frame, from which texts between frames count
        self.compactions = 0
        self.reach = 0  # no position has moved farther since its key was written
        self.has_summaries = False  # whether any token may stand for several
        self.set_states(self._prefix_states)

    def set_states(self, states: Sequence[Tensor]) -> None:
        """Copies these over the states of the recurrent layers."""
        for mine, other in zip(self.states, states, strict=True):
            mine.copy_(other)
        self.version += 1

    @property
    def is_plain(self) -> bool:
        """Whether keys and values lie in the slot as attention reads them, and no token stands for several."""
        return not (self.reach or self.has_summaries or self.slabs.rows is RowFormat.INT8)

    @property
    def num_layers(self) -> int:
        return len(self.lengths)

    @property
    def extent(self) -> Extent:
        """Where the memory ends now."""
        states = tuple(state.clone() for state in self.states)
        return Extent(tuple(self.lengths), self.next_position, self.next_frame, self.origin_s, states)

    @property
    def longest(self) -> int:
        """Valid tokens of the fullest layer, prefix included."""
        return max(self.lengths)

    def layer(self, index: int) -> CachedTokens:
        """A view of the valid tokens of a layer, prefix included."""
        return self._capacity[index].slice(0, self.lengths[index])

    def keys(self, index: int) -> Tensor:
        """The keys of a layer's valid tokens, prefix included, rotated to their positions. Not to be written to."""
        length, mine, shape = self.lengths[index], self._capacity[index], self.slabs.shape
        keys = quantising.convert(mine.keys.narrow(1, 0, length), shape.dtype)
        if not self.reach:
            return keys
        return shape.positions.shift(keys, mine.moved.narrow(0, 0, length), self.reach)

    def values(self, index: int) -> Tensor:
        """The values of a layer's valid tokens, prefix included. Not to be written to."""
        values = self._capacity[index].values.narrow(1, 0, self.lengths[index])
        return quantising.convert(values, self.slabs.shape.dtype)

    def after_prefix(self, index: int) -> CachedTokens:
        """A view of the valid tokens of a layer, without the prefix."""
        return self._capacity[index].slice(self.prefix_length, self.lengths[index])

    def write(self, index: int, keys: Tensor, values: Tensor) -> None:
        """Writes new keys and values behind the valid tokens; they are valid only after `commit`. [H, T, D] twice"""
        self.slabs.write(index, self.slot, self.lengths[index], keys, values)

    def commit(
        self, token_ids: Tensor, times_s: Tensor, offsets: Tensor | None = None, span: int | None = None
    ) -> None:
        """Makes the T tokens just written in every layer valid. [T], [T]

        offsets: [T], never falling, the position of each token, counted from the next position; 0, 1, 2, ... unless
        given. span: how far the next position moves; up to right behind the last token unless given.
        """
        num_tokens = token_ids.numel()
        if span is None:
            span = num_tokens if offsets is None else int(offsets[-1]) + 1 if num_tokens else 0
        offsets = torch.arange(num_tokens, device=self.slabs.shape.device) if offsets is None else offsets
        positions = self.next_position + offsets
        fields = {"positions": positions, "token_ids": token_ids, "times_s": times_s, "counts": 1, "moved": 0}
        for layers, start in self._layers_by_length():
            for name, field in fields.items():
                getattr(self.slabs, name)[layers, self.slot, start : start + num_tokens] = field
        # Last, and together: a commit that fails changes nothing.
        self.extend(num_tokens, span)

    def extend(self, num_tokens: int, span: int) -> None:
        """Makes tokens just written in every layer valid without their fields, which an answer never reads."""
        self.lengths = [start + num_tokens for start in self.lengths]
        self.next_position += span
        self.version += 1

    def count_frames(self, number: int, origin_s: float) -> None:
        """Takes frame numbers for frames that were committed. origin_s: the time of the memory's first frame."""
        self.next_frame += number
        self.origin_s = origin_s
        self.version += 1

    def _layers_by_length(self) -> Iterator[tuple[slice, int]]:
        """Runs of layers with as many valid tokens, and the number of those."""
        start = 0
        for length, run in groupby(self.lengths):
            end = start + len(list(run))
            yield slice(start, end), length
            start = end

    def rewind(self, extent: Extent) -> None:
        """Takes back what was committed since `extent`. Only commits may have changed the memory since then."""
        self.lengths = list(extent.lengths)
        self.next_position, self.next_frame, self.origin_s = extent.next_position, extent.next_frame, extent.origin_s
        self.set_states(extent.states)

    def replace(self, index: int, tokens: CachedTokens) -> None:
        """Replaces all tokens of a layer after its prefix. The new ones must not be views of the same layer.

        None of them has moved farther than `reach` says, nor is a summary where `has_summaries` says that none is.
        """
        end = self.prefix_length + len(tokens)
        assert end <= self.slabs.capacity, (end, self.slabs.capacity)
        self._capacity[index].slice(self.prefix_length, end).overwrite(tokens)
        self.lengths = [*self.lengths[:index], end, *self.lengths[index + 1 :]]
        self.version += 1

    def compact(self, layers: Sequence[CachedTokens], *, next_position: int, reach: int, has_summaries: bool) -> None:
        """Replaces the tokens of all layers after the prefix by what a compaction leaves of them. Allocates nothing."""
        for index, tokens in enumerate(layers):
            self.replace(index, tokens)
        self.compactions += 1
        self.next_position, self.reach, self.has_summaries = next_position, reach, has_summaries

    def renumber(self, distances: Sequence[Tensor], *, next_position: int, reach: int) -> None:
        """Moves the positions of each layer's tokens after the prefix, in place. L × [N_l]

        reach: the farthest that a position has moved then since its key was written.
        """
        for index, distance in enumerate(distances):
            layer = self.after_prefix(index)
            layer.positions.add_(distance)
            layer.moved.add_(distance)
        self.next_position, self.reach = next_position, reach
        self.version += 1

    def restore(self, saved: Checkpoint) -> None:
        """Puts what was saved of a memory of this shape behind the prefix, in the place of what is there."""
        for index, tokens in enumerate(saved.layers):
            self.replace(index, tokens)
        facts = saved.facts
        self.next_position, self.next_frame, self.origin_s = facts.next_position, facts.next_frame, facts.origin_s
        self.compactions = facts.compactions
        self.reach = max((int(tokens.moved.abs().max()) for tokens in saved.layers if len(tokens)), default=0)
        self.has_summaries = any(bool((tokens.counts > 1).any()) for tokens in saved.layers)
        self.set_states(saved.states)

    def blank(self, num_tokens: int) -> None:
        """Writes zeros behind the valid tokens, over what a failed pass wrote there. Allocates nothing.

        A later pass that reads on to a longer memory's end adds 0 times what is there, which is NaN where that is NaN.
        """
        for length, slot in zip(self.lengths, self._capacity, strict=True):
            slot.keys[:, length : length + num_tokens].zero_()
            slot.values[:, length : length + num_tokens].zero_()

    def frozen(self) -> Memory:
        """A view of what the memory holds now, which stays as it is while more is written behind it in the slot."""
        frozen = copy.copy(self)
        frozen.lengths = list(self.lengths)
        frozen.states = tuple(state.clone() for state in self.states)
        return frozen

    def continue_from(self, base: Memory) -> None:
        """Becomes an empty memory behind the tokens of another one, which must not change: answers share a copy."""
        self.clear()
        self.base = base
        self.next_position = base.next_position
        self.set_states(base.states)

    def copy_from(self, other: Memory) -> None:
        """Becomes a copy of another memory, which is not changed: answers run behind such a copy.

        The copy's keys are rotated to their positions once, for all passes over it. In a slot of int8 rows they stay as
        they were written: rotated, they would be rounded once more.
        """
        is_rotated = self.slabs.rows is RowFormat.EXACT
        self.base, self.prefix_length = None, other.prefix_length
        self.lengths = list(other.lengths)
        self.next_position, self.next_frame, self.origin_s = other.next_position, other.next_frame, other.origin_s
        self.compactions, self.has_summaries = other.compactions, other.has_summaries
        self.reach = 0 if is_rotated else other.reach
        self._prefix_states = other._prefix_states
        self.set_states(other.states)
        for index, (length, mine, others) in enumerate(zip(self.lengths, self._capacity, other._capacity, strict=True)):
            keys = other.keys(index) if is_rotated else others.keys.narrow(1, 0, length)
            for slot, rows in ((mine.keys, keys), (mine.values, others.values.narrow(1, 0, length))):
                slot.narrow(1, 0, length).copy_(quantising.convert(rows, slot.dtype))
        for name in PER_TOKEN:  # one copy for all layers: what is behind the valid tokens of a layer is never read
            copied, facts = (getattr(memory.slabs, name)[:, memory.slot, : self.longest] for memory in (self, other))
            copied.copy_(facts)
        if is_rotated:
            self.slabs.moved[:, self.slot].zero_()
        if self.has_summaries:  # tokens that `extend` adds are no summaries
            for index, length in enumerate(self.lengths):
                self.slabs.counts[index, self.slot, length:].fill_(1)
