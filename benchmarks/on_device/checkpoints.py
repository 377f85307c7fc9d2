"""A memory as a checkpoint, without a camera: its tokens and states, and nothing that a stream would add."""

from __future__ import annotations

from cache_store import checkpoint_codec
from cache_store.checkpoint import Checkpoint, CheckpointFacts
from cache_store.memory import Memory
from cache_store.row_format import RowFormat


def whole(memory: Memory, rows: RowFormat | None = None) -> Checkpoint:
    """All that is behind the prefix, on the memory's device. rows: how it is written; as the slot has it by default."""
    facts = CheckpointFacts(
        fingerprint="",
        saved_s=0.0,
        started_s=0.0,
        newest_s=0.0,
        next_position=memory.next_position,
        next_frame=memory.next_frame,
        frames_seen=memory.next_frame,
        frames_dropped=0,
        compactions=memory.compactions,
        origin_s=memory.origin_s,
        rows=rows or memory.slabs.rows,
    )
    return Checkpoint(facts, checkpoint_codec.capture(memory), {}, checkpoint_codec.capture_states(memory))
