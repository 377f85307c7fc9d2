"""One memory: what a slot holds, layer by layer, and the only ways to change it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.slabs import Slabs
from ops import positions as position_ops
from ops import rope


@dataclass(frozen=True, slots=True)
class CachedTokens:
    """Cached tokens of one layer, oldest first. keys, values: [H, N, D]; the rest: [N]."""

    keys: Tensor
    values: Tensor
    positions: Tensor
    token_ids: Tensor
    counts: Tensor
    times_s: Tensor

    def __len__(self) -> int:
        return self.positions.numel()

    @property
    def nbytes(self) -> int:
        tensors = (self.keys, self.values, self.positions, self.token_ids, self.counts, self.times_s)
        return sum(tensor.nbytes for tensor in tensors)

    def at(self, places: Tensor) -> CachedTokens:
        """A copy of the tokens at these places, in their order. [K]"""
        return CachedTokens(
            keys=self.keys[:, places],
            values=self.values[:, places],
            positions=self.positions[places],
            token_ids=self.token_ids[places],
            counts=self.counts[places],
            times_s=self.times_s[places],
        )

    def slice(self, start: int, end: int) -> CachedTokens:
        """A view of the tokens from place `start` to before `end`."""
        return CachedTokens(
            keys=self.keys[:, start:end],
            values=self.values[:, start:end],
            positions=self.positions[start:end],
            token_ids=self.token_ids[start:end],
            counts=self.counts[start:end],
            times_s=self.times_s[start:end],
        )

    def overwrite(self, tokens: CachedTokens) -> None:
        """Writes as many other tokens over these, in place."""
        self.keys.copy_(tokens.keys)
        self.values.copy_(tokens.values)
        self.positions.copy_(tokens.positions)
        self.token_ids.copy_(tokens.token_ids)
        self.counts.copy_(tokens.counts)
        self.times_s.copy_(tokens.times_s)

    def by_position(self) -> CachedTokens:
        """A copy in order of position."""
        return self.at(self.positions.sort(stable=True).indices)


def joined(*parts: CachedTokens) -> CachedTokens:
    """The tokens of all parts, one part after the other."""
    return CachedTokens(
        keys=torch.cat([part.keys for part in parts], dim=1),
        values=torch.cat([part.values for part in parts], dim=1),
        positions=torch.cat([part.positions for part in parts]),
        token_ids=torch.cat([part.token_ids for part in parts]),
        counts=torch.cat([part.counts for part in parts]),
        times_s=torch.cat([part.times_s for part in parts]),
    )


class Memory:
    """The memory of one camera, or a question's copy of it: one slot of the slabs.

    The first `prefix_length` tokens of every layer are the prompt's prefix: never scored, moved or evicted.
    How many tokens are valid is a number per layer. Owned by the device's one thread.
    """

    def __init__(self, room: Slabs, slot: int) -> None:
        self.slabs = room
        self.slot = slot
        self.clear()

    def clear(self) -> None:
        """Forgets everything; the slot is as new."""
        self.lengths = [0] * self.slabs.shape.num_layers
        self.prefix_length = 0
        self.next_position = 0
        self.next_frame = 0
        self.compactions = 0

    @property
    def num_layers(self) -> int:
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Valid tokens of the fullest layer, prefix included."""
        return max(self.lengths)

    def layer(self, index: int) -> CachedTokens:
        """A view of the valid tokens of a layer, prefix included."""
        length, room, slot = self.lengths[index], self.slabs, self.slot
        return CachedTokens(
            keys=room.keys[index][slot, :, :length],
            values=room.values[index][slot, :, :length],
            positions=room.positions[index, slot, :length],
            token_ids=room.token_ids[index, slot, :length],
            counts=room.counts[index, slot, :length],
            times_s=room.times_s[index, slot, :length],
        )

    def remembered(self, index: int) -> CachedTokens:
        """A view of a layer's tokens after the prefix."""
        return self.layer(index).slice(self.prefix_length, self.lengths[index])

    def write(self, index: int, keys: Tensor, values: Tensor) -> None:
        """Puts new keys and values behind the valid ones; they count only after `commit`. [H, T, D] twice"""
        start, end = self.lengths[index], self.lengths[index] + keys.shape[1]
        assert end <= self.slabs.capacity, (end, self.slabs.capacity)
        self.slabs.keys[index][self.slot, :, start:end] = keys
        self.slabs.values[index][self.slot, :, start:end] = values

    def commit(self, token_ids: Tensor, times_s: Tensor, offsets: Tensor | None = None) -> None:
        """Makes the T tokens just written in every layer valid. [T], [T]

        offsets: [T], rising, where each stands from the next position on; one after the other unless given.
        """
        room, num_tokens = self.slabs, token_ids.numel()
        offsets = torch.arange(num_tokens, device=room.shape.device) if offsets is None else offsets
        for index, start in enumerate(self.lengths):
            new = slice(start, start + num_tokens)
            room.positions[index, self.slot, new] = self.next_position + offsets
            room.token_ids[index, self.slot, new] = token_ids
            room.times_s[index, self.slot, new] = times_s
            room.counts[index, self.slot, new] = 1
            self.lengths[index] += num_tokens
        self.next_position += int(offsets[-1]) + 1 if num_tokens else 0

    def replace(self, index: int, tokens: CachedTokens) -> None:
        """Puts these tokens in place of all that a layer holds after its prefix. They must not be views of it."""
        end = self.prefix_length + len(tokens)
        assert end <= self.slabs.capacity, (end, self.slabs.capacity)
        self.lengths[index] = end
        self.remembered(index).overwrite(tokens)

    def copy_from(self, other: Memory) -> None:
        """Becomes a copy of another memory, which is not touched: what a question runs on."""
        self.lengths = list(other.lengths)
        self.prefix_length = other.prefix_length
        self.next_position = other.next_position
        self.next_frame = other.next_frame
        self.compactions = other.compactions
        for index in range(self.num_layers):
            self.layer(index).overwrite(other.layer(index))

    def reindex(self, frequency: Tensor, *, room: int, longest_gap: int) -> None:
        """Renumbers the positions of all layers together and turns the keys along; they stay below prefix + `room`."""
        layers = [self.remembered(index) for index in range(self.num_layers)]
        moved = position_ops.reindex(
            [layer.positions for layer in layers], first=self.prefix_length, room=room, longest_gap=longest_gap
        )
        for layer, new in zip(layers, moved, strict=True):
            layer.keys.copy_(rope.rotate(layer.keys, new - layer.positions, frequency))
            layer.positions.copy_(new)
        self.next_position = 1 + max((int(new[-1]) for new in moved if new.numel()), default=self.prefix_length - 1)
