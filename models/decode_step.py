"""A decode step of fixed shapes, for a CUDA graph: where it reads and writes is input, as numbers on the device."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from cache_store.memory import Memory
from cache_store.slabs import Slabs
from ops import attention as attention_ops
from ops import fused_attention
from ops.fused_attention import Attended

_ROW_FIELDS = 4  # token id, next position, slot of the copy, slot of the suffix
_LAYER_FIELDS = 4  # valid tokens of the copy, place of the new token in it, the same two of the suffix


@dataclass(frozen=True, slots=True)
class AnswerSlabs:
    """Where answers run: slots for copies of memories, and slots for suffixes: the tokens of answers that share a copy.

    The last place of each slot is spare: a row with nothing to write in a slot writes there, and no pass reads it. The
    first slot of the suffixes is no answer's: rows without a suffix read it, because a mask hides no NaN of another's.
    """

    copies: Slabs
    suffixes: Slabs

    def can_step(self, memory: Memory) -> bool:
        """Whether a row of a step can decode an answer on this memory: a plain one, with room for one more token."""
        slabs, base = (self.copies, memory) if memory.base is None else (self.suffixes, memory.base)
        is_ours = memory.slabs is slabs and base.slabs is self.copies
        return is_ours and memory.is_plain and base.is_plain and memory.longest < slabs.capacity - 1

    def pack(self, memories: Sequence[Memory], token_ids: Sequence[int], num_rows: int) -> Tensor:
        """The inputs of a step, on the host, as one tensor for one transfer to the device. -> int64 [F, B]

        The rows that fill the step up to `num_rows` read nothing, and write into spare places.
        """
        rows = [self._row_of(memory, token_id) for memory, token_id in zip(memories, token_ids, strict=True)]
        idle = [0] * _ROW_FIELDS + _unused(self.copies) + _unused(self.suffixes)
        rows += [idle] * (num_rows - len(rows))
        # A tensor of nested lists takes six times as long: 0.6 ms for 32 rows of 28 layers.
        numbers = array("q", chain.from_iterable(rows))
        return torch.frombuffer(numbers, dtype=torch.int64).view(num_rows, -1).T.contiguous()

    def _row_of(self, memory: Memory, token_id: int) -> list[int]:
        base, lengths = memory.base, memory.lengths
        if base is None:  # its tokens lie behind the copy, in the same slot
            return [token_id, memory.next_position, memory.slot, 0, *lengths, *lengths, *_unused(self.suffixes)]
        spare = [self.copies.capacity - 1] * len(lengths)
        return [token_id, memory.next_position, base.slot, memory.slot, *base.lengths, *spare, *lengths, *lengths]


class DecodeStep(Cache):
    """One pass over B new tokens, each of another answer. `SlotCache` is a pass of any shape, which no graph holds.

    Every row attends to all copies at once, of which the result on its copy is taken, and to its suffix.
    inputs: those of `AnswerSlabs.pack`, on the device. is_evidence: the layers whose attention on the copies is
    recorded in `weights`, K × [B, C].
    """

    def __init__(self, slabs: AnswerSlabs, inputs: Tensor, is_evidence: Sequence[bool]) -> None:
        shape = slabs.copies.shape
        super().__init__(layers=[_NewTokens() for _ in range(shape.num_layers)])
        self.weights: list[Tensor] = []
        self._slabs = slabs
        self._is_evidence = is_evidence
        self.ids, self._positions, self._copy_slots, self._suffix_slots = inputs[:_ROW_FIELDS]
        of_layers = torch.unflatten(inputs[_ROW_FIELDS:], 0, (_LAYER_FIELDS, shape.num_layers))  # [4, L, B]
        self._lengths, self._places, self._suffix_lengths, self._suffix_places = of_layers
        self._rows = torch.arange(inputs.shape[1], device=inputs.device)
        self._heads = torch.arange(shape.num_kv_heads, device=inputs.device)
        self._copy_bias: Tensor | None = None
        self._suffix_bias = _suffix_bias(self._suffix_lengths, slabs.suffixes.capacity, shape.dtype)

    def positions(self) -> Tensor:
        """Positions of the new tokens on each axis. -> [A, 1, B]"""
        positions: Tensor = self._positions
        return positions.expand(self._slabs.copies.shape.positions.num_axes, 1, -1)

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
        """The attention of a layer, which writes the new tokens. [1, Hq, B, D], [1, H, B, D] twice -> [B, Hq, D]"""
        grouped = torch.unflatten(queries[0], 0, (keys.shape[1], -1))  # [H, G, B, D]
        new = keys[0].transpose(0, 1), values[0].transpose(0, 1)
        on_copy = self._attend_to_copy(layer, grouped, scaling)
        on_suffix = self._attend_to_suffix(layer, grouped, *new, scaling)
        attended, normalizer = attention_ops.merge(on_copy, on_suffix)
        if self._is_evidence[layer]:
            self.weights.append(self._weights_on_copy(layer, grouped, normalizer, scaling))
        # Last, because every row reads all copies: a NaN that one answer writes would reach the others, masked or not.
        self._write(layer, *new)
        return attended.flatten(1, 2)

    def _attend_to_copy(self, layer: int, grouped: Tensor, scaling: float) -> Attended:
        """[H, G, B, D] -> [B, H, G, D], [B, H, G]"""
        keys, values = self._copies(layer)
        rows = grouped.flatten(1, 2).expand(len(keys), -1, -1, -1)
        bias = self._bias_of_copies(grouped.shape[1])[layer]
        attended, normalizer = fused_attention.attend(rows, keys, values, scaling, bias=bias)
        return self._on_copy_of_row(attended), self._on_copy_of_row(normalizer)

    def _attend_to_suffix(self, layer: int, grouped: Tensor, key: Tensor, value: Tensor, scaling: float) -> Attended:
        """Over the suffix of each row and the new token, which takes the spare place. [H, G, B, D], [B, H, D] twice"""
        slabs = self._slabs.suffixes
        keys, values = (slab[layer].index_select(0, self._suffix_slots) for slab in (slabs.keys, slabs.values))
        keys[:, :, -1], values[:, :, -1] = key, value
        rows = grouped.permute(2, 0, 1, 3)
        return fused_attention.attend(rows, keys, values, scaling, bias=self._suffix_bias[layer])

    def _weights_on_copy(self, layer: int, grouped: Tensor, normalizer: Tensor, scaling: float) -> Tensor:
        """The mean weight over the heads on each place of a row's copy. [H, G, B, D], [B, H, G] -> [B, C], float32"""
        keys, _ = self._copies(layer)
        logits = self._on_copy_of_row((grouped.flatten(1, 2) * scaling) @ keys.mT)  # [B, H, G, C]
        return logits.float().sub_(normalizer[..., None]).exp_().mean(dim=(1, 2))

    def _on_copy_of_row(self, of_all: Tensor) -> Tensor:
        """Of the results on all copies that of each row on its copy. [S, H, G · B, ...] -> [B, H, G, ...]"""
        return torch.unflatten(of_all, 2, (-1, len(self._rows)))[self._copy_slots, :, :, self._rows]

    def _copies(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of all copies, without the spare place. [S, H, C, D] twice"""
        slabs = self._slabs.copies
        return slabs.keys[layer][:, :, :-1], slabs.values[layer][:, :, :-1]

    def _bias_of_copies(self, groups: int) -> Tensor:
        """[L, 1, 1, G · B, C], made once for all layers"""
        if self._copy_bias is None:
            shape, capacity = self._slabs.copies.shape, self._slabs.copies.capacity - 1
            self._copy_bias = _bias(self._lengths.repeat(1, groups)[:, None, None], capacity, shape.dtype)
        return self._copy_bias

    def _write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Writes the new key and value of each row. [B, H, D] twice"""
        for slabs, slots, places in (
            (self._slabs.copies, self._copy_slots, self._places),
            (self._slabs.suffixes, self._suffix_slots, self._suffix_places),
        ):
            where = (slots[:, None], self._heads, places[layer, :, None])
            slabs.keys[layer].index_put_(where, key)
            slabs.values[layer].index_put_(where, value)


class _NewTokens(CacheLayerMixin):
    """One layer of a DecodeStep, with the methods that transformers calls: `attend` reads and writes the slabs."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        return key_states, value_states

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Does nothing: the slabs are allocated at start-up."""

    def get_seq_length(self) -> int:
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_max_length(self) -> int:
        return -1


def _unused(slabs: Slabs) -> list[int]:
    """The length of a slot that a row does not read, 0, and the place that it writes to, both for each layer."""
    return [0] * slabs.shape.num_layers + [slabs.capacity - 1] * slabs.shape.num_layers


def _suffix_bias(lengths: Tensor, capacity: int, dtype: torch.dtype) -> Tensor:
    """Masks the places behind a row's suffix, except the spare one, where the new token is.

    [L, B] -> [L, B, 1, 1, C]
    """
    bias = _bias(lengths[..., None, None], capacity, dtype)
    bias[..., -1].zero_()
    return bias


def _bias(lengths: Tensor, capacity: int, dtype: torch.dtype) -> Tensor:
    """The bias of the logits that masks all places from a length on. [...] -> [..., C]

    Not -inf: a row without any valid token would get NaN. This way its part has no weight when it is merged.
    """
    aligned = -(-capacity // fused_attention.ALIGNED) * fused_attention.ALIGNED  # rows begin where the kernel wants it
    is_masked = torch.arange(aligned, device=lengths.device) >= lengths[..., None]
    bias = torch.zeros(is_masked.shape, dtype=dtype, device=lengths.device)
    return bias.masked_fill_(is_masked, torch.finfo(dtype).min / 4)[..., :capacity]
