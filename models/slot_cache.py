"""How an unmodified transformers decoder reads and writes memories: a Cache, and an attention function.

One forward pass gets one SlotPass, as `past_key_values` and again by name, so that it reaches the attention
function. Nothing is patched or hooked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from torch.nn import Module
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from cache_store.memory import Memory
from ops import attention as attention_ops

ATTENTION_NAME = "hermes_slots"


@dataclass(slots=True)
class AttentionCapture:
    """What to record of a pass: where some of the new tokens look, layer by layer.

    rows: for each layer the new tokens whose attention counts, None for none; reduce: what becomes of their
    weights, [Hq, T, N] -> [..., N]. After the pass, `weights` holds that for each of those layers and each memory,
    for every cached token, prefix included. float32, [..., N_l]
    """

    rows: Sequence[slice | None]
    reduce: Callable[[Tensor], Tensor] = attention_ops.mean_weight
    weights: dict[int, list[Tensor]] = field(default_factory=dict)


class SlotCache(Cache):
    """One forward of B memories: T new tokens each, written behind what is valid, or beside it.

    sees: [T, T], which new token (row) sees which (column), causal unless given; offsets: [T], where each stands
    from the memory's next position on, one after the other unless given. With `is_read_only` the slabs are not
    written: keys and values of the new tokens live as long as the pass.
    """

    def __init__(
        self,
        memories: Sequence[Memory],
        num_new: int,
        *,
        sees: Tensor | None = None,
        offsets: Tensor | None = None,
        is_read_only: bool = False,
        capture: AttentionCapture | None = None,
    ) -> None:
        self.memories = memories
        self.num_new = num_new
        self.is_read_only = is_read_only
        self.capture = capture
        device = memories[0].slabs.shape.device
        causal = torch.ones(num_new, num_new, dtype=torch.bool, device=device).tril()
        self._sees = causal if sees is None else sees
        self._offsets = torch.arange(num_new, device=device) if offsets is None else offsets
        super().__init__(layers=[_SlotLayer(self, index) for index in range(memories[0].num_layers)])

    def positions(self) -> Tensor:
        """Where the new tokens stand. -> [B, T]"""
        return torch.stack([held.next_position + self._offsets for held in self.memories])

    def bias(self, layer: int) -> Tensor:
        """What each new token sees in this layer, and how much it weighs. -> [B, 1, T, N]"""
        lengths = [held.lengths[layer] for held in self.memories]
        places = max(lengths) + self.num_new
        room, slots = self.memories[0].slabs, [held.slot for held in self.memories]
        counts = torch.nn.functional.pad(
            room.counts[layer, slots, : min(places, room.capacity)],
            (0, max(0, places - room.capacity)),
            value=1,
        )
        return attention_ops.visibility(counts, torch.tensor(lengths, device=counts.device), self._sees)


class _SlotLayer(CacheLayerMixin):
    """One layer of a SlotPass, as transformers wants it."""

    def __init__(self, running: SlotCache, index: int) -> None:
        super().__init__()
        self._running = running
        self._index = index
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """All keys and values that the new tokens may see, padded to the longest memory. [B, H, T, D] twice"""
        running = self._running
        both = [self._extended(held, key_states[row], value_states[row]) for row, held in enumerate(running.memories)]
        if len(both) == 1:
            return both[0][0][None], both[0][1][None]
        longest = max(keys.shape[1] for keys, _ in both)
        keys, values = (torch.stack([_padded(pair[which], longest) for pair in both]) for which in (0, 1))
        return keys, values

    def _extended(self, held: Memory, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        cached = held.layer(self._index)
        if self._running.is_read_only:
            return torch.cat((cached.keys, keys), dim=1), torch.cat((cached.values, values), dim=1)
        held.write(self._index, keys, values)
        end = len(cached) + keys.shape[1]
        room = held.slabs
        return room.keys[self._index][held.slot, :, :end], room.values[self._index][held.slot, :, :end]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the slabs are there since start-up."""

    def get_seq_length(self) -> int:
        return max(held.lengths[self._index] for held in self._running.memories)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self._running.memories[0].slabs.capacity


def _padded(tokens: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(tokens, (0, 0, 0, length - tokens.shape[1]))


def slot_attention(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    slot_pass: SlotCache,
    **_kwargs: object,
) -> tuple[Tensor, None]:
    """The attention of one layer of a SlotPass. [B, Hq, T, D], [B, H, N, D] twice -> [B, T, Hq, D]"""
    layer = cast(int, module.layer_idx)
    bias = slot_pass.bias(layer)
    capture = slot_pass.capture
    rows = capture.rows[layer] if capture is not None else None
    if capture is not None and rows is not None:
        capture.weights[layer] = [
            capture.reduce(attention_ops.attention_weights(query[row][:, rows], key[row], bias[row, 0, rows], scaling))[
                ..., : held.lengths[layer]
            ]
            for row, held in enumerate(slot_pass.memories)
        ]
    seen = attention_ops.attend(query, key, value, bias, scaling)
    return seen.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION_NAME, slot_attention)
