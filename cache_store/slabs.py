"""The preallocated tensors of all memories of a device: fixed shapes, a camera is a slot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.footprint import MemoryFootprint
from cache_store.positions import Positions
from cache_store.row_format import RowFormat
from ops import quantising


@dataclass(frozen=True, slots=True)
class RecurrentShape:
    """The recurrent layers of a decoder: fixed states, no tokens, nothing to compact.

    layers: their indices in the decoder. convolution, state: the sizes of what each keeps of the past.
    """

    layers: tuple[int, ...]
    convolution: tuple[int, ...]
    state: tuple[int, ...]

    def nbytes(self, dtype: torch.dtype) -> int:
        """Of one memory, all layers. dtype: of the convolutions; the states are float32."""
        each = math.prod(self.convolution) * dtype.itemsize + math.prod(self.state) * torch.float32.itemsize
        return len(self.layers) * each


@dataclass(frozen=True, slots=True)
class KVShape:
    """What a decoder caches of each token, and where. positions: how it numbers them, one object for all slabs.

    num_layers: those with full attention, which are the layers of a memory. recurrent: the others, if there are any.
    device: where all but keys, values and states is. devices: of each of the decoder's layers, where those of it are;
    the same one unless given.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    positions: Positions
    dtype: torch.dtype
    device: torch.device
    recurrent: RecurrentShape | None = None
    devices: tuple[torch.device, ...] = ()

    def device_of(self, decoder_layer: int) -> torch.device:
        """The device of the decoder's layer with this index."""
        return self.devices[decoder_layer] if self.devices else self.device

    @property
    def decoder_layers(self) -> tuple[int, ...]:
        """Of each layer of a memory its index in the decoder, which has the recurrent ones too."""
        others = self.recurrent.layers if self.recurrent is not None else ()
        return tuple(layer for layer in range(self.num_layers + len(others)) if layer not in others)

    @property
    def footprint(self) -> MemoryFootprint:
        """The sizes of a memory of this shape."""
        state_nbytes = 0 if self.recurrent is None else self.recurrent.nbytes(self.dtype)
        return MemoryFootprint(self.num_layers, self.num_kv_heads, self.head_dim, self.dtype.itemsize, state_nbytes)


class Slabs:
    """Keys and values of all slots, L × [S, H, C, D], and the other fields of each cached token, [L, S, C].

    rows: how keys and values are kept; as INT8 they are L × [S, H, C, D + 2], see `quantising.join`.

    positions: see `Positions`. token_ids: frame and place in it, see `token_ids`, negative for a summary. counts: how
    many tokens it stands for. times_s: the time of its frame, in Unix seconds, for a summary the oldest. moved: how far
    its position has moved since its key was written; `Memory.keys` rotates by that. With positions of several axes one
    number is enough, because all axes of a token move together. states: of recurrent layers, two each, [S, ...]; the
    second is float32. Allocated once, never grown, so memories hold views.
    """

    def __init__(self, shape: KVShape, *, slots: int, capacity: int, rows: RowFormat = RowFormat.EXACT) -> None:
        self.shape = shape
        self.capacity = capacity
        self.rows = rows
        dtype = torch.int8 if rows is RowFormat.INT8 else shape.dtype
        cached = (slots, shape.num_kv_heads, capacity, quantising.width(shape.head_dim, dtype))
        per_token = (shape.num_layers, slots, capacity)
        self.keys = [self._zeros(cached, dtype, layer) for layer in shape.decoder_layers]
        self.values = [self._zeros(cached, dtype, layer) for layer in shape.decoder_layers]
        self.positions = self._zeros(per_token, torch.int64)
        self.token_ids = self._zeros(per_token, torch.int64)
        self.counts = self._zeros(per_token, torch.int64)
        self.times_s = self._zeros(per_token, torch.float64)
        self.moved = self._zeros(per_token, torch.int32)
        self.states: list[Tensor] = []
        self._neighbours: tuple[slice, list[tuple[Tensor, Tensor]]] = (slice(0, 0), [])  # last asked for
        if shape.recurrent is not None:
            for layer in shape.recurrent.layers:
                self.states.append(self._zeros((slots, *shape.recurrent.convolution), shape.dtype, layer))
                self.states.append(self._zeros((slots, *shape.recurrent.state), torch.float32, layer))

    def _zeros(self, size: tuple[int, ...], dtype: torch.dtype, decoder_layer: int | None = None) -> Tensor:
        """On the device of that layer of the decoder, or on the memory's."""
        device = self.shape.device if decoder_layer is None else self.shape.device_of(decoder_layer)
        return torch.zeros(size, dtype=dtype, device=device)

    def write(self, layer: int, slots: int | slice, start: int, keys: Tensor, values: Tensor) -> None:
        """Writes keys and values of T tokens of one slot or of several, from place `start` on. [..., H, T, D] twice"""
        end = start + keys.shape[-2]
        assert end <= self.capacity, (end, self.capacity)
        for slab, rows in ((self.keys[layer], keys), (self.values[layer], values)):
            slab[slots, :, start:end] = quantising.convert(rows, slab.dtype)

    def read(self, layer: int, slots: int | slice, end: int) -> tuple[Tensor, Tensor]:
        """The first keys and values of one slot or of several in the model's dtype. Not to be written to.

        -> [..., H, `end`, D] twice
        """
        keys, values = (slab[layer][slots, :, :end] for slab in (self.keys, self.values))
        return quantising.convert(keys, self.shape.dtype), quantising.convert(values, self.shape.dtype)

    def neighbours(self, slots: slice) -> list[tuple[Tensor, Tensor]]:
        """Views of the keys and of the values of slots that follow each other. -> L × [R, H, C, D] twice

        Those last asked for are kept, because each step of an answer asks for the same.
        """
        if self._neighbours[0] != slots:
            pairs = zip(self.keys, self.values, strict=True)
            self._neighbours = (slots, [(keys[slots], values[slots]) for keys, values in pairs])
        return self._neighbours[1]

    @property
    def slot_nbytes(self) -> int:
        """What each slot takes."""
        return self.shape.footprint.slot_nbytes(self.capacity, self.rows)

    @property
    def nbytes(self) -> int:
        per_token = (self.positions, self.token_ids, self.counts, self.times_s, self.moved)
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values, *per_token, *self.states))
