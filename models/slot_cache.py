"""How an unmodified transformers decoder reads and writes memories: a Cache and an attention function.

One forward pass gets one SlotCache, as `past_key_values` and again as `forward_pass`, so that it reaches the attention
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
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionLayer

from cache_store.memory import Memory
from ops import attention as attention_ops

ATTENTION_NAME = "hermes_slots"


@dataclass(slots=True)
class AttentionCapture:
    """What to record of a forward pass: the attention weights of some of its new tokens, layer by layer.

    query_rows: for each layer the new tokens whose attention weights are recorded, None for none. reduce: applied to
    them, [Hq, T, N] -> [..., N]. After the pass `weights` holds, for each recorded layer and each memory, the result
    on every cached token, prefix included. float32, [..., N_l]
    """

    query_rows: Sequence[slice | None]
    reduce: Callable[[Tensor], Tensor] = attention_ops.mean_weight
    weights: dict[int, list[Tensor]] = field(default_factory=dict)


class SlotCache(Cache):
    """One forward pass over B memories, with T new tokens for each, written behind the valid ones.

    mask: bool [T, T], whether a new token (row) attends to a new token (column); causal by default. offsets: [T],
    position of each new token relative to the memory's next position, or [A, T], that on each axis; consecutive by
    default. With `is_read_only` the slabs are not written: keys and values of the new tokens last as long as the pass.
    Recurrent layers get copies of the memories' states, which `write_states` puts back as they are behind the pass.
    """

    def __init__(
        self,
        memories: Sequence[Memory],
        num_new: int,
        *,
        mask: Tensor | None = None,
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
        self._mask = causal if mask is None else mask
        self._offsets = torch.arange(num_new, device=device) if offsets is None else offsets
        self._num_axes = memories[0].slabs.shape.positions.num_axes
        self._has_summaries = any(memory.has_summaries for memory in memories)
        self._recurrent: list[_RecurrentLayer] = []
        self._masks: dict[tuple[int, ...], Tensor | None] = {}  # of layers without summaries, by their lengths
        shape = memories[0].slabs.shape
        self._layer_at = {place: layer for layer, place in enumerate(shape.layers)}
        places: dict[int, CacheLayerMixin] = {place: _SlotLayer(self, layer) for place, layer in self._layer_at.items()}
        if shape.recurrent is not None:
            self._recurrent = [_RecurrentLayer(memories, index) for index in range(len(shape.recurrent.layers))]
            places |= dict(zip(shape.recurrent.layers, self._recurrent, strict=True))
        super().__init__(layers=[places[place] for place in sorted(places)])

    def layer_at(self, place: int) -> int:
        """The memory's layer of the decoder's layer at this place."""
        return self._layer_at[place]

    def write_states(self) -> None:
        """Puts the states of recurrent layers behind the new tokens into the memories."""
        for row, memory in enumerate(self.memories):
            memory.set_states([state for layer in self._recurrent for state in layer.states(row)])

    def positions(self) -> Tensor:
        """Positions of the new tokens on each axis. -> [A, B, T]"""
        offsets = self._offsets.expand(self._num_axes, -1)
        return torch.stack([memory.next_position + offsets for memory in self.memories], dim=1)

    def attention_bias(self, layer: int) -> Tensor | None:
        """Bias on the logits of this layer: the mask, and the log of each summary's count. -> [B, 1, T, N]

        None if nothing is masked and nothing is a summary. Without summaries, layers of equal lengths share one.
        """
        lengths = tuple(memory.lengths[layer] for memory in self.memories)
        if self._has_summaries:
            return self._bias(lengths, self._counts(layer, max(lengths) + self.num_new))
        if lengths not in self._masks:
            self._masks[lengths] = self._mask_alone(lengths)
        return self._masks[lengths]

    def _counts(self, layer: int, num_keys: int) -> Tensor:
        slabs, slots = self.memories[0].slabs, [memory.slot for memory in self.memories]
        counts = slabs.counts[layer, slots, : min(num_keys, slabs.capacity)]
        return torch.nn.functional.pad(counts, (0, max(0, num_keys - slabs.capacity)), value=1)

    def _mask_alone(self, lengths: tuple[int, ...]) -> Tensor | None:
        if self.num_new == 1 and len(set(lengths)) == 1:
            return None
        ones = torch.ones((), dtype=torch.int64, device=self._mask.device)
        # Zero and -inf are exact in the model's own type, which attention needs.
        return self._bias(lengths, ones.expand(len(lengths), max(lengths) + self.num_new)).to(
            self.memories[0].slabs.shape.dtype
        )

    def _bias(self, lengths: tuple[int, ...], counts: Tensor) -> Tensor:
        return attention_ops.attention_bias(counts, torch.tensor(lengths, device=counts.device), self._mask)


class _SlotLayer(CacheLayerMixin):
    """One layer of a SlotCache, with the methods that transformers calls."""

    def __init__(self, forward_pass: SlotCache, index: int) -> None:
        super().__init__()
        self._forward_pass = forward_pass
        self._index = index
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """All keys and values that the new tokens may attend to, padded to the longest memory. [B, H, T, D] twice"""
        memories = self._forward_pass.memories
        pairs = [self._extended(memory, key_states[row], value_states[row]) for row, memory in enumerate(memories)]
        if len(pairs) == 1:
            return pairs[0][0][None], pairs[0][1][None]
        longest = max(keys.shape[1] for keys, _ in pairs)
        keys, values = (torch.stack([_padded(pair[part], longest) for pair in pairs]) for part in (0, 1))
        return keys, values

    def _extended(self, memory: Memory, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of one memory's valid tokens and of its new ones. [H, T, D] twice -> [H, N, D] twice"""
        index, slabs = self._index, memory.slabs
        if self._forward_pass.is_read_only:
            return torch.cat((memory.keys(index), keys), dim=1), torch.cat((memory.values(index), values), dim=1)
        memory.write(index, keys, values)
        written = (memory.slot, slice(None), slice(memory.lengths[index] + keys.shape[1]))
        if memory.reach:
            return torch.cat((memory.keys(index), keys), dim=1), slabs.values[index][written]
        return slabs.keys[index][written], slabs.values[index][written]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Does nothing: the slabs are allocated at start-up."""

    def get_seq_length(self) -> int:
        return max(memory.lengths[self._index] for memory in self._forward_pass.memories)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self._forward_pass.memories[0].slabs.capacity


class _RecurrentLayer(LinearAttentionLayer):
    """One recurrent layer of a SlotCache: transformers' own, over copies of the memories' states."""

    def __init__(self, memories: Sequence[Memory], index: int) -> None:
        super().__init__()
        convolution, state = (torch.stack([memory.states[2 * index + part] for memory in memories]) for part in (0, 1))
        self.dtype, self.device = convolution.dtype, convolution.device
        self.conv_states[0], self.recurrent_states[0] = convolution, state
        self.conv_kernel_size[0] = convolution.shape[-1]
        # Zeros, of an empty memory, are what transformers begins with.
        for flags in (self.is_conv_states_initialized, self.is_recurrent_states_initialized, self.has_previous_state):
            flags[0] = True

    def states(self, row: int) -> tuple[Tensor, Tensor]:
        """The two states of one memory of the batch."""
        return self.conv_states[0][row], self.recurrent_states[0][row]


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
    forward_pass: SlotCache,
    **_kwargs: object,
) -> tuple[Tensor, None]:
    """The attention of one layer of a SlotCache. [B, Hq, T, D], [B, H, N, D] twice -> [B, T, Hq, D]"""
    layer = forward_pass.layer_at(cast(int, module.layer_idx))
    bias = forward_pass.attention_bias(layer)
    bias = bias if bias is None else bias.to(query.device)
    capture = forward_pass.capture
    rows = capture.query_rows[layer] if capture is not None else None
    if capture is not None and rows is not None:
        capture.weights[layer] = [
            capture.reduce(
                attention_ops.attention_weights(
                    query[row][:, rows], key[row], None if bias is None else bias[row, 0, rows], scaling
                )
            )[..., : memory.lengths[layer]].to(memory.slabs.shape.device)
            for row, memory in enumerate(forward_pass.memories)
        ]
    attended = attention_ops.attend(query, key, value, bias, scaling)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION_NAME, slot_attention)
