"""A camera's global summary tier as a value that outlives its process, and as bytes. Never pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch

from cache_store import tensor_bytes
from cache_store.memory import CachedTokens, Memory
from cache_store.slabs import KVShape
from cache_store.tensor_bytes import DTYPES, NAMES
from ops import quantising

SCHEMA_VERSION = 3


class StoreError(Exception):
    """Root of what can be wrong with checkpoints and where they are kept.

    StoreError
    ├── StoreUnavailable        the store cannot be reached, or refused
    │   ├── StoreFull           it has no memory left for what it is given
    │   ├── StoreReadOnly       it takes no writes: a replica, or a primary of before
    │   ├── StoreForbidden      it does not let us in, or not do this
    │   ├── StoreLoading        it is still reading what it kept
    │   └── StoreNotReplicated  it took what it was given, but no replica has it
    ├── StoreUnfit              the store is set up so that it would lose what it is given
    ├── CheckpointCorrupt       the bytes are no checkpoint that this version can read
    └── leases.OwnedByAnother   the camera is another shard's
    """


class StoreUnavailable(StoreError):
    """The store cannot be reached, or refused."""


class StoreFull(StoreUnavailable):
    """The store has no memory left for what it is given, and evicts nothing. What it has it keeps."""


class StoreReadOnly(StoreUnavailable):
    """The store takes no writes: it is a replica, or was the primary before."""


class StoreForbidden(StoreUnavailable):
    """The store does not let us in, or not do this."""


class StoreLoading(StoreUnavailable):
    """The store is still reading what it kept."""


class StoreNotReplicated(StoreUnavailable):
    """The store took what it was given, but no replica has it, so that a failover would lose it."""


class StoreUnfit(StoreError):
    """The store is set up so that it would lose what it is given; the message names the setting."""


class CheckpointCorrupt(StoreError):
    """The bytes are no checkpoint that this version can read."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of a camera's time, in Unix seconds, that its memory does not cover."""

    start_s: float
    end_s: float
    reason: str


class Rows(StrEnum):
    """How keys and values are written."""

    EXACT = "exact"  # bit for bit
    INT8 = "int8"  # in a byte each, one step for each token and head


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """What is known of a checkpoint beside its tensors. Times in Unix seconds."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    fingerprint: str  # of the model that wrote it, the only one that can read it
    saved_s: float
    started_s: float  # when the camera was first added: second 0 of a file
    newest_s: float  # of what the tier holds
    next_position: int
    next_frame: int
    frames_seen: int
    frames_dropped: int
    compactions: int
    gaps: tuple[Gap, ...] = ()
    rows: Rows = Rows.EXACT


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tier of all layers, on the CPU, and the pictures of the frames that it still holds a token of."""

    facts: CheckpointFacts
    layers: tuple[CachedTokens, ...]
    thumbnails: dict[int, bytes]

    @property
    def nbytes(self) -> int:
        """Of the tensors and the pictures."""
        return sum(tokens.nbytes for tokens in self.layers) + sum(map(len, self.thumbnails.values()))

    @property
    def content(self) -> tuple[object, ...]:
        """Equal for two checkpoints of one memory, since it began or was restored, only if their tokens are the same.

        A memory changes by frames and compactions alone, and what is left out of it are always its newest tokens.
        """
        facts = self.facts
        lengths = tuple(map(len, self.layers))
        return facts.rows, facts.next_position, facts.next_frame, facts.compactions, lengths


def capture(held: Memory, first_recent_id: int) -> tuple[CachedTokens, ...]:
    """Copies of what each layer holds between prefix and recent window, on the CPU.

    Tokens of the recent window are the last of every layer, so one slice is all that stands before them.
    """
    layers = (held.remembered(index) for index in range(held.num_layers))
    return tuple(_copied(tokens.slice(0, int((tokens.token_ids < first_recent_id).sum()))) for tokens in layers)


def restore(held: Memory, saved: Checkpoint) -> None:
    """Puts a checkpoint behind the prefix of a fresh memory. Raises CheckpointCorrupt if its shape does not fit."""
    shape = held.slabs.shape
    room = held.slabs.capacity - held.prefix_length
    if len(saved.layers) != shape.num_layers:
        raise CheckpointCorrupt(f"checkpoint of {len(saved.layers)} layers (the model has {shape.num_layers})")
    for index, tokens in enumerate(saved.layers):
        _check_fit(tokens, shape, room, index)
    for index, tokens in enumerate(saved.layers):
        held.replace(index, tokens)
    held.next_position = saved.facts.next_position
    held.next_frame = saved.facts.next_frame
    held.compactions = saved.facts.compactions


def to_parts(saved: Checkpoint) -> list[memoryview]:
    """The tensors as a safetensors file, in parts; the checkpoint must not change as long as they are used."""
    tensors = {
        f"layers.{index}.{name}": getattr(tokens, name) for index, tokens in enumerate(saved.layers) for name in _FIELDS
    }
    quantised: dict[str, str] = {}
    if saved.facts.rows is Rows.INT8:
        quantised = {name: NAMES[rows.dtype] for name, rows in tensors.items() if name.endswith(_ROWS)}
        for name in quantised:
            tensors[name], tensors[name + _STEPS] = quantising.quantise(tensors[name])
    described = {"schema_version": SCHEMA_VERSION, "quantised": quantised}
    return tensor_bytes.packed(tensors, {"hermes": json.dumps(described)})


def from_pieces(pieces: Sequence[bytes], facts: CheckpointFacts, thumbnails: dict[int, bytes]) -> Checkpoint:
    """The checkpoint of these facts and pictures whose tensors are a file in pieces. Raises CheckpointCorrupt."""
    try:
        tensors, metadata = tensor_bytes.unpacked(pieces)
        described = json.loads(metadata["hermes"])
        if described["schema_version"] != SCHEMA_VERSION:
            raise CheckpointCorrupt(
                f"checkpoint of schema version {described['schema_version']!r} (this one reads {SCHEMA_VERSION})"
            )
        for name, dtype in described["quantised"].items():
            steps = tensors.pop(name + _STEPS)
            tensors[name] = quantising.dequantise(tensors[name], steps, DTYPES[dtype])
        num_layers = sum(name.endswith(".keys") for name in tensors)
        layers = tuple(
            CachedTokens(**{name: tensors[f"layers.{index}.{name}"] for name in _FIELDS}) for index in range(num_layers)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointCorrupt(
            f"checkpoint of {sum(map(len, pieces))} bytes: {type(error).__name__}: {error}"
        ) from error
    return Checkpoint(facts, layers, thumbnails)


_FIELDS = tuple(field.name for field in dataclasses.fields(CachedTokens))
_ROWS = (".keys", ".values")
_STEPS = ".steps"


def _copied(tokens: CachedTokens) -> CachedTokens:
    return CachedTokens(**{name: getattr(tokens, name).to("cpu", copy=True) for name in _FIELDS})


def _check_fit(tokens: CachedTokens, shape: KVShape, room: int, index: int) -> None:
    """A checkpoint comes from outside: every tensor must be what a memory of this model could hold."""
    cached = (shape.num_kv_heads, len(tokens), shape.head_dim)
    wanted = {name: (tuple(cached), shape.dtype) for name in ("keys", "values")}
    wanted |= {name: ((len(tokens),), torch.int64) for name in ("positions", "token_ids", "counts")}
    wanted["times_s"] = ((len(tokens),), torch.float64)
    for name, (size, dtype) in wanted.items():
        found = getattr(tokens, name)
        if tuple(found.shape) != size or found.dtype != dtype:
            raise CheckpointCorrupt(
                f"checkpoint, layer {index}: {name} is {found.dtype} {tuple(found.shape)} (expected {dtype} {size})"
            )
    if len(tokens) > room:
        raise CheckpointCorrupt(f"checkpoint, layer {index}: {len(tokens)} tokens (room for {room})")
    if len(tokens) and (int(tokens.counts.min()) < 1 or bool((tokens.positions.diff() < 0).any())):
        raise CheckpointCorrupt(f"checkpoint, layer {index}: counts or positions out of order")
