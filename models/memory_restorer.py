"""A saved memory back in a slot, compacted where it does not fit."""

from __future__ import annotations

from cache_store import checkpoint_codec, compaction
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models.memory_writer import MemoryWriter


def restore(writer: MemoryWriter, memory: Memory, saved: Checkpoint) -> None:
    """Puts a checkpoint into a memory that is as `reset` left it; where it does not fit the slot, it is compacted.

    Whatever bounds it was saved with, the memory fits its slot before anything reads it: one that is too long is
    restored into a slot of its own size, scored and compacted there as after a step of frames, and copied. Raises
    CheckpointCorrupt if its shape is not the model's, or if its newest frames are over budget by themselves.
    """
    layout = writer.model.spec.layout
    if saved.has_dense_ids:
        side = layout.side or layout.cell  # the version before had squares alone
        saved = checkpoint_codec.with_places(saved, *layout.grid(side, side))
    longest = max((len(tokens) for tokens in saved.layers), default=0)
    if memory.prefix_length + longest <= writer.capacity:
        _fill(writer, memory, saved)
        return
    slab = Slabs(writer.model.spec.kv, slots=1, capacity=memory.prefix_length + longest, rows=memory.slabs.rows)
    roomy = Memory(slab, 0)
    roomy.copy_from(memory)
    _fill(writer, roomy, saved)
    writer.compact([roomy])
    memory.copy_from(roomy)


def _fill(writer: MemoryWriter, memory: Memory, saved: Checkpoint) -> None:
    checkpoint_codec.restore(memory, saved)
    window = max(compaction.window_lengths(memory, writer.first_recent_id(memory)))
    if window > writer.config.tokens_per_layer:
        raise CheckpointCorrupt(
            f"checkpoint: {window} tokens in the newest {writer.recent_frames} frames of a layer "
            f"(limit {writer.config.tokens_per_layer})"
        )
    writer.free_positions(memory, 0)
