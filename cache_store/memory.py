"""One memory: what a slot holds, layer by layer, and the only ways to change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.slabs import Slabs
from ops import positions as position_ops
from ops import rope


@dataclass(frozen=True, slots=True)
class CachedTokens:
    """Cached tokens of one layer, oldest first. keys, values: [H, N, D]; the rest: [N], see `Slabs`.

    The keys are rotated to `written_at`, not to the positions: a key that was rotated again whenever its position moved
    would drift, in bfloat16 by 43 % in 1,000 moves of one position.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    token_ids: Tensor
    counts: Tensor
    times_s: Tensor
    moved: Tensor

    def __len__(self) -> int:
        return self.positions.numel()

    @property
    def written_at(self) -> Tensor:
        """The positions that the keys are rotated to. -> [N]"""
        return self.positions - self.moved

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for _, _, tensor in self.tensors())

    def tensors(self) -> list[tuple[str, int, Tensor]]:
        """Each tensor with its name and its token axis."""
        return [(name, axis, getattr(self, name)) for name, axis in TOKEN_AXES]

    def map(self, function: Callable[[Tensor, int], Tensor]) -> CachedTokens:
        """The tokens with each tensor replaced by `function(tensor, token axis)`."""
        return CachedTokens(*[function(getattr(self, name), axis) for name, axis in TOKEN_AXES])

    def at(self, indices: Tensor) -> CachedTokens:
        """A copy of the tokens at these indices, in their order. [K]"""
        return self.map(lambda tensor, axis: tensor.index_select(axis, indices))

    def slice(self, start: int, end: int) -> CachedTokens:
        """A view of the tokens from index `start` to before `end`."""
        return self.map(lambda tensor, axis: tensor.narrow(axis, start, end - start))

    def overwrite(self, tokens: CachedTokens) -> None:
        """Copies as many other tokens over these, in place."""
        for name, _ in TOKEN_AXES:
            getattr(self, name).copy_(getattr(tokens, name))

    def by_position(self) -> CachedTokens:
        """A copy in order of position."""
        return self.at(self.positions.sort(stable=True).indices)

    @staticmethod
    def concat(*parts: CachedTokens) -> CachedTokens:
        """The tokens of all parts, one part after the other."""
        return CachedTokens(
            *[torch.cat([getattr(part, name) for part in parts], dim=axis) for name, axis in TOKEN_AXES]
        )


# The one list of what a cached token has: the fields, and in which axis of each the tokens lie.
TOKEN_AXES = tuple(
    (field.name, 1 if field.name in ("keys", "values") else 0) for field in dataclasses.fields(CachedTokens)
)
PER_TOKEN = tuple(name for name, axis in TOKEN_AXES if axis == 0)  # one number each; the slabs have all layers in one


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a memory reaches: what `commit` moves on and `rewind` moves back."""

    lengths: tuple[int, ...]
    next_position: int
    next_frame: int


class Memory:
    """The memory of one camera, or a question's copy of it: one slot of the slabs.

    The first `prefix_length` tokens of every layer are the prompt's prefix: never scored, moved or evicted.
    How many tokens are valid is a number per layer. Owned by the one thread of the device.
    """

    def __init__(self, slabs: Slabs, slot: int) -> None:
        self.slabs = slabs
        self.slot = slot
        self._capacity = [
            CachedTokens(*[getattr(slabs, name)[index][slot] for name, _ in TOKEN_AXES])
            for index in range(slabs.shape.num_layers)
        ]
        self.clear()

    def clear(self) -> None:
        """Removes all tokens; the slot is as new."""
        self.prefix_length = 0
        self.erase()

    def erase(self) -> None:
        """Removes all tokens after the prefix, which has never moved."""
        self.lengths = [self.prefix_length] * self.slabs.shape.num_layers
        self.next_position = self.prefix_length
        self.next_frame = 0
        self.compactions = 0
        self.reach = 0  # no position has moved farther since its key was written
        self.has_summaries = False  # whether any token may stand for several

    @property
    def num_layers(self) -> int:
        return len(self.lengths)

    @property
    def extent(self) -> Extent:
        """Where the memory ends now."""
        return Extent(tuple(self.lengths), self.next_position, self.next_frame)

    @property
    def longest(self) -> int:
        """Valid tokens of the fullest layer, prefix included."""
        return max(self.lengths)

    def layer(self, index: int) -> CachedTokens:
        """A view of the valid tokens of a layer, prefix included."""
        return self._capacity[index].slice(0, self.lengths[index])

    def keys(self, index: int) -> Tensor:
        """The keys of a layer's valid tokens, prefix included, rotated to their positions. Not to be written to."""
        length = self.lengths[index]
        keys = self.slabs.keys[index][self.slot, :, :length]
        if not self.reach:
            return keys
        return rope.rotate_by(self.slabs.rotations(self.reach), keys, self.slabs.moved[index, self.slot, :length])

    def values(self, index: int) -> Tensor:
        """A view of the values of a layer's valid tokens, prefix included."""
        return self.slabs.values[index][self.slot, :, : self.lengths[index]]

    def after_prefix(self, index: int) -> CachedTokens:
        """A view of the valid tokens of a layer, without the prefix."""
        return self._capacity[index].slice(self.prefix_length, self.lengths[index])

    def write(self, index: int, keys: Tensor, values: Tensor) -> None:
        """Writes new keys and values behind the valid tokens; they are valid only after `commit`. [H, T, D] twice"""
        start, end = self.lengths[index], self.lengths[index] + keys.shape[1]
        assert end <= self.slabs.capacity, (end, self.slabs.capacity)
        self.slabs.keys[index][self.slot, :, start:end] = keys
        self.slabs.values[index][self.slot, :, start:end] = values

    def commit(self, token_ids: Tensor, times_s: Tensor, offsets: Tensor | None = None) -> None:
        """Makes the T tokens just written in every layer valid. [T], [T]

        offsets: [T], rising, the position of each token, counted from the next position; 0, 1, 2, ... unless given.
        """
        slabs, num_tokens = self.slabs, token_ids.numel()
        offsets = torch.arange(num_tokens, device=slabs.shape.device) if offsets is None else offsets
        starts = torch.tensor(self.lengths, device=slabs.shape.device)
        places = starts[:, None] + torch.arange(num_tokens, device=slabs.shape.device)
        slabs.positions[:, self.slot].scatter_(1, places, (self.next_position + offsets).expand_as(places))
        slabs.token_ids[:, self.slot].scatter_(1, places, token_ids.expand_as(places))
        slabs.times_s[:, self.slot].scatter_(1, places, times_s.expand_as(places))
        slabs.counts[:, self.slot].scatter_(1, places, 1)
        slabs.moved[:, self.slot].scatter_(1, places, 0)
        # Last, and together: a commit that fails changes nothing.
        num_positions = int(offsets[-1]) + 1 if num_tokens else 0
        self.lengths = [start + num_tokens for start in self.lengths]
        self.next_position += num_positions

    def rewind(self, extent: Extent) -> None:
        """Takes back what was committed since `extent`. Only commits may have changed the memory since then."""
        self.lengths = list(extent.lengths)
        self.next_position = extent.next_position
        self.next_frame = extent.next_frame

    def replace(self, index: int, tokens: CachedTokens) -> None:
        """Replaces all tokens of a layer after its prefix. The new ones must not be views of the same layer.

        If they moved farther or are summaries where none was, the caller says so in `reach` and `has_summaries`.
        """
        end = self.prefix_length + len(tokens)
        assert end <= self.slabs.capacity, (end, self.slabs.capacity)
        self._capacity[index].slice(self.prefix_length, end).overwrite(tokens)
        self.lengths[index] = end

    def copy_from(self, other: Memory) -> None:
        """Becomes a copy of another memory, which is not changed: a question runs on such a copy.

        The copy's keys are rotated to their positions once, for all passes over it.
        """
        self.lengths = list(other.lengths)
        self.prefix_length = other.prefix_length
        self.next_position = other.next_position
        self.next_frame = other.next_frame
        self.compactions = other.compactions
        self.has_summaries = other.has_summaries
        self.reach = 0
        for index, length in enumerate(self.lengths):
            self.slabs.keys[index][self.slot, :, :length].copy_(other.keys(index))
            self.slabs.values[index][self.slot, :, :length].copy_(other.values(index))
        for name in PER_TOKEN:  # one copy for all layers: what is behind the valid tokens of a layer is never read
            mine, others = (getattr(memory.slabs, name)[:, memory.slot, : self.longest] for memory in (self, other))
            mine.copy_(others)
        self.slabs.moved[:, self.slot].zero_()

    def reindex(self, *, max_span: int, max_gap: int, window: int = 0) -> None:
        """Renumbers the positions of all layers together. The keys stay as they are, see `keys`.

        The new positions are below prefix + `max_span`, see `ops.positions.reindex`. window: so many of the newest
        positions keep their distances.
        """
        layers = [self.after_prefix(index) for index in range(self.num_layers)]
        reindexed = position_ops.reindex(
            [layer.positions for layer in layers],
            first=self.prefix_length,
            max_span=max_span,
            max_gap=max_gap,
            recent_from=self.next_position - window,
        )
        distances = [positions - layer.positions for layer, positions in zip(layers, reindexed, strict=True)]
        newest = max(
            (int(positions[-1]) for positions in reindexed if positions.numel()), default=self.prefix_length - 1
        )
        farthest = [
            int((layer.moved + distance).abs().max())
            for layer, distance in zip(layers, distances, strict=True)
            if len(layer)
        ]
        # Last, and in place: a reindexing that fails changes nothing.
        for layer, distance in zip(layers, distances, strict=True):
            layer.positions.add_(distance)
            layer.moved.add_(distance)
        self.next_position = newest + 1
        self.reach = max(farthest, default=0)
