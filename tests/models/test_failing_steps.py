"""A step of frames that fails at any point, in a batch of memories, changes none of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import frame_encoder
from models.errors import NotFinite
from models.frame_encoder import EncodedFrames
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from tests.conftest import append_frames, assert_same, contents, random_frames
from tests.pipeline.device.faults import Faults

FRAMES = torch.stack((random_frames(4, seed=5), random_frames(4, seed=6)))
LAST = 0.99  # from there on tokens become valid
TIMES_S = 100 + torch.arange(4, dtype=torch.float64).expand(2, 4)


def full_memories(model: LlavaOnevision, *, reserve: int) -> tuple[MemoryWriter, list[Memory]]:
    """Two memories of one batch at their budget, so that each step leaves no room for another one."""
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128, recent_frames=4), max_frames=4, reserve=reserve)
    slabs = Slabs(model.spec.kv, slots=2, capacity=writer.capacity)
    memories = [Memory(slabs, slot) for slot in range(2)]
    for seed, memory in enumerate(memories):
        writer.reset(memory)
        append_frames(writer, memory, random_frames(16, seed))
    return writer, memories


def layers(memory: Memory) -> list[CachedTokens]:
    return [memory.after_prefix(index) for index in range(memory.num_layers)]


def kept(memory: Memory) -> list[torch.Tensor]:
    """A copy of all that a renumbering of positions leaves alone."""
    return [tensor.clone() for layer in layers(memory) for tensor in (layer.keys, layer.values, layer.token_ids)]


def step(writer: MemoryWriter, memories: list[Memory], faults: Faults) -> None:
    with faults:
        writer.prefill_steps(memories, frame_encoder.steps(writer.model, memories, FRAMES, TIMES_S, [None, None]))


def over_budget(memories: list[Memory]) -> list[int]:
    return [memory.longest - memory.prefix_length - 128 for memory in memories]


@pytest.fixture(scope="module")
def num_operations(model: LlavaOnevision) -> int:
    """Operations of one step that can fail."""
    writer, memories = full_memories(model, reserve=128)
    faults = Faults()
    step(writer, memories, faults)
    assert over_budget(memories) == [64, 64]
    return faults.num_operations


@settings(max_examples=12)
@given(place=st.floats(0, 1, exclude_max=True) | st.floats(LAST, 1, exclude_max=True))
def test_no_memory_of_a_batch_changes(model: LlavaOnevision, num_operations: int, place: float) -> None:
    writer, memories = full_memories(model, reserve=128)
    before, extents = [contents(memory) for memory in memories], [memory.extent for memory in memories]
    faults = Faults()
    faults.fail_after(int(place * num_operations), torch.OutOfMemoryError("out of memory"))

    with pytest.raises(torch.OutOfMemoryError):
        step(writer, memories, faults)

    assert [memory.extent for memory in memories] == extents
    for memory, was in zip(memories, before, strict=True):
        assert_same(contents(memory), was)
    step(writer, memories, Faults())
    assert over_budget(memories) == [64, 64]


@settings(max_examples=12)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_compaction_that_fails_at_any_point_changes_no_memory_of_its_batch(
    model: LlavaOnevision, place: float
) -> None:
    (writer, memories), (other_writer, others) = (full_memories(model, reserve=128) for _ in range(2))
    step(writer, memories, Faults())
    step(other_writer, others, Faults())
    before = [contents(memory) for memory in memories]
    with Faults() as usual:
        other_writer.compact(others)
    faults = Faults()
    faults.fail_after(int(place * usual.num_operations), torch.OutOfMemoryError("out of memory"))
    with faults, pytest.raises(torch.OutOfMemoryError):
        writer.compact(memories)

    for memory, was in zip(memories, before, strict=True):
        assert_same(contents(memory), was)
    writer.compact(memories)
    assert over_budget(memories) == [0, 0]


@settings(max_examples=12)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_memory_whose_positions_run_out_keeps_its_tokens(
    model: LlavaOnevision, num_operations: int, place: float
) -> None:
    """Its positions may be renumbered before the step fails; keys, values and what is cached stay."""
    reserve = model.spec.max_positions - 340
    writer, memories = full_memories(model, reserve=reserve)
    while memories[0].next_position + 64 <= writer.max_position:
        writer.append(memories, FRAMES, TIMES_S)
    before = [kept(memory) for memory in memories]
    faults = Faults()
    faults.fail_after(int(place * num_operations), torch.OutOfMemoryError("out of memory"))

    with pytest.raises(torch.OutOfMemoryError):
        step(writer, memories, faults)

    for memory, was in zip(memories, before, strict=True):
        assert_same(kept(memory), was)
        for layer in layers(memory):
            assert bool((layer.positions.diff() > 0).all())
            assert int(layer.positions[-1]) < memory.next_position
    step(writer, memories, Faults())


def test_what_is_no_number_is_not_left_in_the_slot(model: LlavaOnevision) -> None:
    """A pass of one token each reads the shorter memory's slot up to the longer one's length."""
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128, recent_frames=4), max_frames=4, reserve=128)
    slabs = Slabs(model.spec.kv, slots=2, capacity=writer.capacity)
    memories = [Memory(slabs, slot) for slot in range(2)]
    for number, memory in enumerate(memories, start=1):
        writer.reset(memory)
        append_frames(writer, memory, random_frames(4 * number))
    encoded = frame_encoder.encode(model, FRAMES[:1])[0]
    damaged = EncodedFrames(encoded.cells.map(lambda cells: torch.full_like(cells, torch.nan)), 4, 4)

    with pytest.raises(NotFinite):
        writer.prefill(memories[:1], [damaged], TIMES_S[:1])

    one_cell = torch.arange(16)[None] == 5
    writer.append(memories, FRAMES[:, :1], TIMES_S[:, :1], [one_cell, one_cell])
    assert [memory.longest - memory.prefix_length for memory in memories] == [65, 129]
