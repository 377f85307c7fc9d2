"""From a memory to a checkpoint to bytes, and back. Never pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from cache_store import compaction, tensor_bytes, token_ids
from cache_store.cached_tokens import PER_TOKEN, TOKEN_AXES, CachedTokens
from cache_store.checkpoint import READABLE_VERSIONS, SCHEMA_VERSION, Checkpoint, CheckpointFacts
from cache_store.errors import CheckpointCorrupt
from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from cache_store.slabs import KVShape
from cache_store.tensor_bytes import DTYPES, NAMES
from ops import quantising

_QUANTISED = (".keys", ".values")  # how the names of the tensors end that INT8 concerns
_SCALES = ".steps"  # the name in files
_FIRST_WITH_MOVED = 4  # the first schema version whose keys are not rotated to their positions
_FIRST_WITH_PLACES = 5  # the first whose token ids say the place of a token in its frame


def capture(memory: Memory, first_recent_id: int | None = None) -> tuple[CachedTokens, ...]:
    """Copies of the tokens of each layer between prefix and recent window, on their device.

    The tokens of the recent window, with ids from `first_recent_id` on, are the last of every layer. Without that id
    all tokens behind the prefix are copied, and the host does not wait for the device.
    """
    windows = [0] * memory.num_layers
    if first_recent_id is not None:
        windows = compaction.window_lengths(memory, first_recent_id)
    facts = [getattr(memory.slabs, name)[:, memory.slot, : memory.longest].clone() for name in PER_TOKEN]
    layers = []
    for index, window in enumerate(windows):
        kept = slice(memory.prefix_length, memory.lengths[index] - window)
        rows = (slabs[index][memory.slot, :, kept].clone() for slabs in (memory.slabs.keys, memory.slabs.values))
        layers.append(CachedTokens(*rows, *(fact[index, kept] for fact in facts)))
    return tuple(layers)


def capture_states(memory: Memory) -> tuple[Tensor, ...]:
    """Copies of the states of recurrent layers, on their device. They know the frames of the recent window too."""
    return tuple(state.clone() for state in memory.states)


def on_host(snapshot: Checkpoint, to_host: Callable[[Tensor], Tensor] = Tensor.cpu) -> Checkpoint:
    """A snapshot whose tensors are on the host, with the thumbnails of no other frames than its own."""
    layers = tuple(tokens.map(lambda tensor, _: to_host(tensor)) for tokens in snapshot.layers)
    frames = set(torch.unique(token_ids.frames_of(torch.cat([tokens.token_ids for tokens in layers]))).tolist())
    thumbnails = {frame: jpeg for frame, jpeg in snapshot.thumbnails.items() if frame in frames}
    return dataclasses.replace(
        snapshot, layers=layers, thumbnails=thumbnails, states=tuple(map(to_host, snapshot.states))
    )


def restore(memory: Memory, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint behind the prefix of a fresh memory that has room for it.

    Keys and values are converted where the memory's slot keeps them in another way. Raises CheckpointCorrupt if its
    shape is not the memory's.
    """
    shape = memory.slabs.shape
    if len(checkpoint.layers) != shape.num_layers:
        raise CheckpointCorrupt(f"checkpoint of {len(checkpoint.layers)} layers (the model has {shape.num_layers})")
    for index, tokens in enumerate(checkpoint.layers):
        _check_shape(tokens, shape, index)
    found, expected = ([(state.dtype, state.shape) for state in one.states] for one in (checkpoint, memory))
    if found != expected:
        raise CheckpointCorrupt(f"checkpoint: states of recurrent layers are {found} (expected {expected})")
    memory.restore(checkpoint)


def encode(checkpoint: Checkpoint) -> list[memoryview]:
    """The tensors as a safetensors file, in parts; the checkpoint must not change as long as they are used."""
    tensors = {
        f"layers.{index}.{name}": tensor
        for index, tokens in enumerate(checkpoint.layers)
        for name, _, tensor in tokens.tensors()
    }
    tensors |= {f"states.{index}": state for index, state in enumerate(checkpoint.states)}
    quantised: dict[str, str] = {}
    if checkpoint.facts.rows is RowFormat.INT8:
        quantised = {name: _number_type(rows) for name, rows in tensors.items() if name.endswith(_QUANTISED)}
        for name in quantised:
            tensors[name], tensors[name + _SCALES] = quantising.split(quantising.convert(tensors[name], torch.int8))
    header = {"schema_version": SCHEMA_VERSION, "quantised": quantised}
    return tensor_bytes.pack(tensors, {"hermes": json.dumps(header)})


def decode(pieces: Sequence[bytes], facts: CheckpointFacts, thumbnails: dict[int, bytes]) -> Checkpoint:
    """The checkpoint whose tensors are a safetensors file in pieces. Raises CheckpointCorrupt."""
    try:
        tensors, metadata = tensor_bytes.unpack(pieces)
        header = json.loads(metadata["hermes"])
        if header["schema_version"] not in READABLE_VERSIONS:
            raise CheckpointCorrupt(
                f"checkpoint of schema version {header['schema_version']!r} (this version reads {READABLE_VERSIONS})"
            )
        for name, dtype in header["quantised"].items():
            tensors[name] = _joined(tensors[name], tensors.pop(name + _SCALES), DTYPES[dtype])
        num_layers = sum(name.endswith(".keys") for name in tensors)
        layers = tuple(_layer(tensors, index, header["schema_version"]) for index in range(num_layers))
        states = tuple(
            tensors[f"states.{index}"] for index in range(sum(name.startswith("states.") for name in tensors))
        )
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointCorrupt(
            f"checkpoint of {sum(map(len, pieces))} bytes: {type(error).__name__}: {error}"
        ) from error
    return Checkpoint(facts, layers, thumbnails, states, has_dense_ids=header["schema_version"] < _FIRST_WITH_PLACES)


def with_places(checkpoint: Checkpoint, rows: int, columns: int) -> Checkpoint:
    """A checkpoint with dense ids, of frames of rows x columns cells, with the token ids of this version."""
    layers = tuple(
        dataclasses.replace(tokens, token_ids=token_ids.from_dense(tokens.token_ids, rows, columns))
        for tokens in checkpoint.layers
    )
    return dataclasses.replace(checkpoint, layers=layers, has_dense_ids=False)


def _layer(tensors: Mapping[str, Tensor], index: int, schema_version: int) -> CachedTokens:
    fields = {name: tensors[f"layers.{index}.{name}"] for name, _ in TOKEN_AXES if f"layers.{index}.{name}" in tensors}
    if schema_version < _FIRST_WITH_MOVED:
        fields["moved"] = torch.zeros_like(tensors[f"layers.{index}.positions"], dtype=torch.int32)
    return CachedTokens(**fields)


def _number_type(rows: Tensor) -> str:
    """What the version before dequantises these rows to; those of int8 slots are taken for a bfloat16 model's."""
    return NAMES[torch.bfloat16 if rows.dtype is torch.int8 else rows.dtype]


def _joined(levels: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """int8 rows; those of the version before, with scales of float32, are dequantised."""
    if scales.dtype is torch.bfloat16:
        return quantising.join(levels, scales)
    return quantising.dequantise(levels, scales, dtype)


def _check_shape(tokens: CachedTokens, shape: KVShape, index: int) -> None:
    """Checks that every tensor is as a memory of this model has it: a checkpoint comes from outside."""
    numbers = torch.int8 if tokens.keys.dtype is torch.int8 else shape.dtype
    cached = (shape.num_kv_heads, len(tokens), quantising.width(shape.head_dim, numbers))
    dtypes = {"keys": numbers, "values": numbers, "times_s": torch.float64, "moved": torch.int32}
    for name, axis, tensor in tokens.tensors():
        size, dtype = cached if axis else (len(tokens),), dtypes.get(name, torch.int64)
        if tuple(tensor.shape) != size or tensor.dtype != dtype:
            raise CheckpointCorrupt(
                f"checkpoint, layer {index}: {name} is {tensor.dtype} {tuple(tensor.shape)} (expected {dtype} {size})"
            )
    if len(tokens) and (int(tokens.counts.min()) < 1 or bool((tokens.positions.diff() < 0).any())):
        raise CheckpointCorrupt(f"checkpoint, layer {index}: a count below 1, or positions out of order")
