"""How many tokens of each frame are cached, and the oldest time: as read token by token, in one transfer."""

from __future__ import annotations

import dataclasses

import torch

from benchmarks import baselines
from cache_store import cached_frames, token_ids
from cache_store.memory import Memory
from cache_store.policies import Policy
from cache_store.slabs import Slabs
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from tests.conftest import append_frames, new_memory, random_frames
from tests.host_reads import META, HostReads


def assert_counts(memory: Memory) -> None:
    frames = range(memory.next_frame)

    counts = cached_frames.count(memory, frames)

    layers = [memory.after_prefix(layer) for layer in range(memory.num_layers)]
    cached = token_ids.frames_of(torch.cat([tokens.token_ids for tokens in layers])).tolist()
    assert counts.tokens == [cached.count(frame) for frame in frames]
    assert counts.oldest_s == min(torch.cat([tokens.times_s for tokens in layers]).tolist())


def test_frames_of_which_layers_hold_different_tokens(writer: MemoryWriter, memory: Memory) -> None:
    append_frames(writer, memory, random_frames(40), first_s=7.0)
    memory.replace(2, memory.after_prefix(2).at(torch.arange(3, 30)))

    assert len(set(memory.lengths)) > 1
    assert_counts(memory)


def test_a_summary_is_of_no_frame_but_has_the_oldest_time(model: LlavaOnevision, writer: MemoryWriter) -> None:
    folding = MemoryWriter(
        model, writer.config, max_frames=8, reserve=128, policy=Policy(baselines.hermes_with_summaries)
    )
    memory = new_memory(folding)
    append_frames(folding, memory, random_frames(40), first_s=7.0)

    assert memory.has_summaries
    assert_counts(memory)
    assert cached_frames.count(memory, []).oldest_s == 7.0


def test_a_memory_without_frames_has_no_oldest_time(memory: Memory) -> None:
    assert cached_frames.count(memory, [0, 5]) == cached_frames.CachedFrames([0, 0], None)


def test_the_host_waits_for_one_transfer(model: LlavaOnevision) -> None:
    shape = Slabs(model.spec.kv, slots=1, capacity=1).shape
    on_meta = type(shape)(shape.num_layers, shape.num_kv_heads, shape.head_dim, shape.positions, shape.dtype, META)
    memory = Memory(Slabs(on_meta, slots=2, capacity=64), 1)
    memory.rewind(dataclasses.replace(memory.extent, lengths=tuple(30 + layer for layer in range(memory.num_layers))))

    with HostReads() as reads:
        cached_frames.count(memory, [3, 4, 5])

    assert reads.num_reads == 1
