"""The version of a memory grows with every change, because answers share a copy of a memory that has not changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch

from cache_store import checkpoint_codec, compaction, reindexing
from cache_store.checkpoint import Checkpoint
from cache_store.compaction import Remaining
from cache_store.memory import Memory
from cache_store.positions import Positions
from cache_store.slabs import KVShape, RecurrentShape, Slabs
from tests.cache_store.test_checkpoint import FACTS
from tests.conftest import mark_summaries

NUM_TOKENS = 6
SHAPE = KVShape(
    num_layers=2,
    num_kv_heads=1,
    head_dim=4,
    positions=Positions([1.0, 0.1]),
    dtype=torch.float32,
    device=torch.device("cpu"),
    recurrent=RecurrentShape((1,), (2,), (3,)),
)


def filled() -> Memory:
    """A memory with a prefix of two tokens and four tokens behind it, whose positions have gaps."""
    memory = Memory(Slabs(SHAPE, slots=1, capacity=16), 0)
    append(memory, torch.arange(2))
    memory.end_prefix()
    append(memory, 10 * torch.arange(NUM_TOKENS - 2))
    return memory


def append(memory: Memory, offsets: torch.Tensor) -> None:
    for layer in range(memory.num_layers):
        memory.write(layer, *torch.randn(2, 1, len(offsets), 4))
    memory.commit(offsets, offsets.double(), offsets)


def compact(memory: Memory) -> None:
    kept = tuple(memory.after_prefix(layer).at(torch.arange(2)) for layer in range(memory.num_layers))
    compaction.apply(memory, Remaining(kept, memory.next_position, 0, has_summaries=False))


def restore(memory: Memory) -> None:
    layers, states = checkpoint_codec.capture(memory), checkpoint_codec.capture_states(memory)
    checkpoint_codec.restore(memory, Checkpoint(FACTS, layers, {}, states))


CHANGES: dict[str, Callable[[Memory], object]] = {
    "clear": Memory.clear,
    "end_prefix": Memory.end_prefix,
    "erase": Memory.erase,
    "set_states": lambda memory: memory.set_states([torch.ones(2), torch.ones(3)]),
    "commit": lambda memory: append(memory, torch.arange(1)),
    "extend": lambda memory: memory.extend(1, 1),
    "rewind": lambda memory: memory.rewind(memory.extent),
    "replace": lambda memory: memory.replace(1, memory.after_prefix(0)),
    "continue_from": lambda memory: memory.continue_from(filled()),
    "copy_from": lambda memory: memory.copy_from(filled()),
    "compact": compact,
    "renumber": lambda memory: reindexing.reindex(memory, max_span=8, max_gap=1),
    "count_frames": lambda memory: memory.count_frames(1, 0.0),
    "restore": restore,
}
# They change nothing that is valid.
OTHERS = {"layer", "keys", "values", "after_prefix", "write", "blank", "frozen"}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_a_new_version(change: str) -> None:
    memory = filled()
    before = memory.version
    CHANGES[change](memory)
    assert memory.version > before


def test_every_method_is_known_to_change_a_memory_or_not_to() -> None:
    methods = {name for name, _ in inspect.getmembers(Memory, inspect.isfunction) if not name.startswith("_")}
    assert methods == OTHERS | CHANGES.keys()


def test_what_only_reads_makes_no_new_version() -> None:
    memory = filled()
    before = memory.version
    memory.frozen().extend(1, 1)
    memory.blank(3)
    memory.write(0, torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))
    assert (memory.keys(0).shape, memory.extent.lengths) == ((1, NUM_TOKENS, 4), (NUM_TOKENS, NUM_TOKENS))
    assert memory.version == before


def test_blank_leaves_valid_tokens_alone() -> None:
    memory = filled()
    keys = memory.keys(0).clone()
    memory.write(0, torch.full((1, 3, 4), torch.nan), torch.full((1, 3, 4), torch.nan))
    memory.blank(3)
    assert torch.equal(memory.keys(0), keys)
    assert not memory.slabs.keys[0][0, :, NUM_TOKENS:].any()
    assert not memory.slabs.values[0][0, :, NUM_TOKENS:].any()


def copied(memory: Memory) -> Memory:
    """A copy in a slot of which another memory has left summaries and moves."""
    slabs = Slabs(SHAPE, slots=1, capacity=16)
    slabs.counts.fill_(2)
    slabs.moved.fill_(3)
    copy = Memory(slabs, 0)
    copy.copy_from(memory)
    return copy


def test_a_copy_has_rotated_keys_that_have_not_moved_since() -> None:
    """Its next move would be added to those before, and its keys would be rotated too far."""
    memory = filled()
    reindexing.reindex(memory, max_span=8, max_gap=1)
    assert memory.reach
    copy = copied(memory)

    assert copy.reach == 0
    assert not copy.slabs.moved.any()
    assert torch.equal(copy.keys(0), memory.keys(0))


def test_tokens_behind_a_copy_of_summaries_are_none() -> None:
    memory = filled()
    mark_summaries(memory)
    copy = copied(memory)
    copy.extend(2, 2)

    assert copy.layer(0).counts.tolist() == [1] * (NUM_TOKENS + 2)
