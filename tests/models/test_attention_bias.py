"""The bias of a pass is left out or shared by layers where it may be, and never where a summary weighs."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks import baselines
from cache_store import checkpoint_codec
from cache_store.checkpoint import Checkpoint
from cache_store.memory import Memory
from cache_store.policies import POLICIES, Policy
from cache_store.tiers import MemoryConfig, PolicyName
from models.embeddings import Embeddings
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.slot_cache import AttentionCapture, SlotCache
from tests.cache_store.test_checkpoint import FACTS
from tests.conftest import append_frames, mark_summaries, new_memory, random_frames
from tests.models.reference import more_slots

EVERY_ID = 1 << 40
FOLDING = Policy(baselines.hermes_with_summaries)


def compacted(model: LlavaOnevision, policy: Policy, *, slots: int = 1) -> tuple[MemoryWriter, Memory]:
    """A memory that was compacted again and again."""
    config = MemoryConfig(tokens_per_layer=128, recent_frames=4)
    writer = MemoryWriter(model, config, max_frames=8, reserve=128, policy=policy)
    memory = new_memory(writer, slots=slots)
    append_frames(writer, memory, random_frames(24))
    assert memory.compactions > 1
    return writer, memory


def copied(memory: Memory) -> Memory:
    copy = Memory(more_slots(memory.slabs, 1), 0)
    copy.copy_from(memory)
    return copy


def restored(writer: MemoryWriter, memory: Memory) -> Memory:
    again = new_memory(writer)
    facts = dataclasses.replace(FACTS, next_position=memory.next_position)
    checkpoint_codec.restore(again, Checkpoint(facts, checkpoint_codec.capture(memory, EVERY_ID), {}))
    return again


def read(model: LlavaOnevision, memories: list[Memory], num_new: int) -> list[torch.Tensor]:
    """Hidden states of some tokens that read the memories, and the attention weights of the last one."""
    ids = torch.tensor(model.prompts.question("what is in view").ids[:num_new])
    capture = AttentionCapture([slice(num_new - 1, num_new)] * memories[0].num_layers)
    embedded = Embeddings.pack([model.embed_tokens(ids)] * len(memories))
    hidden = model.forward(embedded, SlotCache(memories, [num_new] * len(memories), is_read_only=True, capture=capture))
    return [hidden, *(weights for layer in capture.weights.values() for weights in layer.values())]


def assert_every_count_weighs(model: LlavaOnevision, memories: list[Memory], num_new: int) -> None:
    """A pass gives what it gives when each layer's bias is made from its own counts."""
    found = read(model, memories, num_new)
    for memory in memories:
        mark_summaries(memory)
    for one, other in zip(found, read(model, memories, num_new), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("num_new", [1, 5])
@pytest.mark.parametrize("policy", [*POLICIES.values(), FOLDING])
def test_a_memory_its_copy_and_its_restored_one_are_read_with_every_count(
    model: LlavaOnevision, policy: Policy, num_new: int
) -> None:
    writer, memory = compacted(model, policy)
    counts = torch.cat([memory.layer(layer).counts for layer in range(memory.num_layers)])
    assert bool((counts > 1).any()) == (policy is FOLDING)
    for each in (restored(writer, memory), copied(memory), memory):
        assert_every_count_weighs(model, [each], num_new)


@pytest.mark.parametrize("num_new", [1, 5])
def test_memories_of_a_batch_and_layers_of_unequal_lengths_keep_their_masks(
    model: LlavaOnevision, num_new: int
) -> None:
    writer, memory = compacted(model, POLICIES[PolicyName.QUESTIONS], slots=2)
    shorter = Memory(memory.slabs, 1)
    writer.reset(shorter)
    append_frames(writer, shorter, random_frames(3))
    memory.replace(2, memory.after_prefix(2).at(torch.arange(40)))
    assert_every_count_weighs(model, [memory, shorter], num_new)


def test_an_erased_memory_has_no_summary(model: LlavaOnevision) -> None:
    _, memory = compacted(model, FOLDING)
    assert memory.has_summaries
    memory.erase()
    assert not memory.has_summaries
