"""How an unmodified transformers decoder writes memories: a Cache over their slots.

One forward pass gets one SlotCache, as `past_key_values` and again as `forward_pass`, so that it reaches the attention
function of `models/slot_attention.py`. Nothing is patched or hooked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionLayer

from cache_store.memory import Memory
from models import decode_runs, slot_runs
from models.decode_runs import DecodeRun
from models.query_capture import QueryCapture
from models.shared_base import SharedBases
from models.slot_runs import SlotRun
from ops import attention as attention_ops
from ops import transfer


@dataclass(slots=True)
class AttentionCapture:
    """What to record of a forward pass: the attention weights of some of its new tokens, layer by layer.

    query_rows: for each layer which of each memory's new tokens have their attention weights recorded, None for none.
    reduce: applied to them, [..., Hq, T, N] -> [..., N], each cached token by itself. After the pass `weights` holds,
    for each recorded layer and each memory by its place in the pass, the result on every cached token, prefix included.
    float32, [..., N_l]
    """

    query_rows: Sequence[slice | None]
    reduce: Callable[[Tensor], Tensor] = attention_ops.mean_weight
    weights: dict[int, dict[int, Tensor]] = field(default_factory=dict)


class PassEnded(Exception):
    """Ends a pass early: what it is for is computed, so the later layers are skipped."""


class SlotCache(Cache):
    """One forward pass over B memories: the T_b new tokens of all lie side by side in one row, embeddings and hidden
    states are [1, sum of T_b, E]. They are written behind each memory's valid tokens.

    mask: see `New.mask`, where every memory reads several texts that do not see each other.
    offsets: [sum of T_b], position of each new token relative to its memory's next position, or [A, sum of T_b], that
    on each axis, on the host; consecutive by default. With `is_read_only` the slabs are not written: keys and values of
    the new tokens last as long as the pass. ends_at: the last layer that is wanted, behind whose attention the pass
    raises PassEnded; all layers unless given. Recurrent layers get copies of the memories' states, which `write_states`
    puts back as they are behind the pass; they cannot be packed, see `models/pass_parts.py`.
    """

    def __init__(
        self,
        memories: Sequence[Memory],
        num_new: Sequence[int],
        *,
        mask: Tensor | None = None,
        offsets: Tensor | None = None,
        is_read_only: bool = False,
        capture: AttentionCapture | QueryCapture | None = None,
        ends_at: int | None = None,
    ) -> None:
        assert len(memories) == len(num_new), (len(memories), len(num_new))
        self.memories = memories
        self.num_new = list(num_new)
        self.mask = mask
        self.is_read_only = is_read_only
        self.capture = capture
        self.ends_at = ends_at
        shape = memories[0].slabs.shape
        self.spans = _spans(self.num_new)
        self.offsets = _consecutive(num_new) if offsets is None else offsets
        self._recurrent: list[_RecurrentLayer] = []
        captures_weights = isinstance(capture, AttentionCapture)
        self.is_appended = not (is_read_only or captures_weights) and mask is None
        is_single = self.is_appended and all(length == 1 for length in num_new)
        is_plain = all(memory.is_plain for memory in memories)
        self.bases = SharedBases(memories, self.spans)
        assert not (captures_weights and self.bases.shares), "attention weights are captured on a pass's own memories"
        self.decode_runs = decode_runs.runs_of(memories) if is_single and is_plain else []
        self.runs = [] if self.decode_runs else slot_runs.runs_of(memories, self.spans)
        self._layer_of = {decoder_layer: layer for layer, decoder_layer in enumerate(shape.decoder_layers)}
        caches: dict[int, CacheLayerMixin] = {index: _SlotLayer(self, layer) for index, layer in self._layer_of.items()}
        if shape.recurrent is not None:
            self._recurrent = [_RecurrentLayer(memories, index) for index in range(len(shape.recurrent.layers))]
            caches |= dict(zip(shape.recurrent.layers, self._recurrent, strict=True))
        super().__init__(layers=[caches[index] for index in sorted(caches)])

    def layer_of(self, decoder_layer: int) -> int:
        """The memory's layer of the decoder's layer with this index."""
        return self._layer_of[decoder_layer]

    def positions(self) -> Tensor:
        """Positions of the new tokens on each axis. -> [A, 1, sum of T_b]"""
        shape = self.memories[0].slabs.shape
        first = torch.tensor([memory.next_position for memory in self.memories])
        if 1 < len(self.memories) < self.offsets.shape[-1]:
            first = first.repeat_interleave(torch.tensor(self.num_new))
        positions = transfer.to_device(first + self.offsets, shape.device)
        return positions.expand(shape.positions.num_axes, -1)[:, None]

    def newest(self, tokens: Tensor) -> Tensor:
        """Of each memory's last new token; no view, if there are others. [sum of T_b, ...] -> [B, ...]"""
        if len(tokens) == len(self.memories):
            return tokens
        if len(self.memories) == 1:
            return tokens[-1:].clone()
        return tokens.index_select(0, self._last.to(tokens.device))

    @cached_property
    def _last(self) -> Tensor:
        """The place of each memory's last new token, sent to the device once. [B]"""
        last = torch.tensor([span.stop - 1 for span in self.spans])
        return transfer.to_device(last, self.memories[0].slabs.shape.device)

    def write_states(self) -> None:
        """Puts the states of recurrent layers behind the new tokens into the memories."""
        for memory, states in zip(self.memories, self.states(), strict=True):
            memory.set_states(states)

    def states(self) -> list[tuple[Tensor, ...]]:
        """Those of each memory's recurrent layers behind the new tokens. B"""
        return [
            tuple(state for layer in self._recurrent for state in layer.states(row))
            for row in range(len(self.memories))
        ]

    def set_states(self, row: int, states: Sequence[Tensor]) -> None:
        """Copies these over the pass's states of one memory. That memory is not changed, see `write_states`."""
        of_row = [state for layer in self._recurrent for state in layer.states(row)]
        for mine, other in zip(of_row, states, strict=True):
            mine.copy_(other)


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
        """Writes the new keys and values, and returns them: the attention function finds the cached ones itself."""
        forward_pass, keys, values = self._forward_pass, packed(key_states), packed(value_states)
        if not forward_pass.is_read_only:
            runs: list[DecodeRun | SlotRun] = [*forward_pass.decode_runs, *forward_pass.runs]
            for run in runs:
                run.write(self._index, run.unpack(keys), run.unpack(values))
        return key_states, value_states

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


def packed(states: Tensor) -> Tensor:
    """The tokens of a batch side by side. [B, H, T, D] -> [1, H, B · T, D]"""
    return states if states.shape[0] == 1 else states.transpose(0, 1).flatten(1, 2)[None]


def _consecutive(lengths: Sequence[int]) -> Tensor:
    """0, 1, 2, ... for each memory. -> [sum of T_b], on the host"""
    if max(lengths) == 1:
        return torch.zeros(len(lengths), dtype=torch.int64)
    if len(lengths) == 1:
        return torch.arange(lengths[0])
    of_each = torch.tensor(lengths)
    return torch.arange(sum(lengths)) - torch.repeat_interleave(of_each.cumsum(0) - of_each, of_each)


def _spans(lengths: Sequence[int]) -> list[slice]:
    ends = accumulate(lengths)
    return [slice(end - length, end) for length, end in zip(lengths, ends, strict=True)]
