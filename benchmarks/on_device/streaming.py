"""A stream of many thousand frames: what a question waits for at its end, and what the memory takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.on_device import full_memories, pairs
from benchmarks.on_device.answering import FirstToken
from benchmarks.on_device.pairs import Pair
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models import frame_encoder
from models.memory_writer import MemoryWriter

_FRAMES_PER_STEP = 8
_WHOLE_FRAMES = 96  # appended first, so that a memory is full before the rest of the stream


@dataclass(frozen=True, slots=True)
class Streamed:
    """first_token: at the end of the long stream, beside that at the end of the short one. nbytes: of a slot."""

    first_token: Pair
    nbytes_over_formula: float
    compactions: int


def compare(writer: MemoryWriter, short: int, long: int, *, rounds: int) -> Streamed:
    """Two streams of so many frames. Behind the first frames one cell of each frame passes, as behind a gate."""
    memories = [_streamed(writer, num_frames) for num_frames in (long, short)]
    pair = pairs.measure(*[FirstToken(writer.model, memory) for memory in memories], rounds=rounds)
    return Streamed(pair, _nbytes_over_formula(memories[0].slabs), memories[0].compactions)


def _streamed(writer: MemoryWriter, num_frames: int) -> Memory:
    memory, model = full_memories.empty(writer, 1)[0], writer.model
    (encoded,) = frame_encoder.encode(model, full_memories.noise_frames(model, 1, _FRAMES_PER_STEP))
    one_cell = torch.zeros(_FRAMES_PER_STEP, encoded.rows * encoded.columns, dtype=torch.bool)
    one_cell[:, 0] = True
    for first in range(0, num_frames, _FRAMES_PER_STEP):
        times_s = full_memories.times_s(model, memory, _FRAMES_PER_STEP)
        writer.prefill([memory], [encoded], times_s[None], None if first < _WHOLE_FRAMES else [one_cell])
    writer.compact([memory])  # as full as any other
    return memory


def _nbytes_over_formula(slabs: Slabs) -> float:
    """What one slot has allocated, over what `cache_store.footprint` says."""
    parts = [part for value in vars(slabs).values() for part in (value if isinstance(value, list) else [value])]
    allocated = sum(part.untyped_storage().nbytes() for part in parts if isinstance(part, torch.Tensor))
    return allocated / slabs.slot_nbytes
