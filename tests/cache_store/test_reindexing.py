"""A reindexing waits for its device as often whatever the number of layers: each wait holds up the device's thread."""

from __future__ import annotations

import torch

from cache_store import reindexing
from cache_store.memory import Memory
from cache_store.positions import Positions
from cache_store.slabs import KVShape, Slabs
from tests.host_reads import HostReads


def reads_of(num_layers: int) -> int:
    shape = KVShape(
        num_layers=num_layers,
        num_kv_heads=1,
        head_dim=4,
        positions=Positions([1.0, 0.1]),
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    memory = Memory(Slabs(shape, slots=1, capacity=16), 0)
    for layer in range(num_layers):
        memory.write(layer, *torch.randn(2, 1, 8, 4))
    offsets = 10 * torch.arange(8)
    memory.commit(offsets, offsets.double(), offsets)
    with HostReads(shape.device) as reads:
        reindexing.reindex(memory, max_span=32, max_gap=4)
    assert memory.layer(num_layers - 1).positions.tolist() == [4 * token for token in range(8)]
    assert (memory.next_position, memory.reach) == (29, 42)
    assert reads.num_reads
    return reads.num_reads


def test_a_reindexing_reads_as_many_numbers_of_many_layers_as_of_one() -> None:
    assert reads_of(12) == reads_of(1)


def test_a_memory_without_frames_begins_behind_its_prefix() -> None:
    shape = KVShape(1, 1, 4, Positions([1.0, 0.1]), torch.float32, torch.device("cpu"))
    memory = Memory(Slabs(shape, slots=1, capacity=16), 0)
    memory.extend(0, 50)
    reindexing.reindex(memory, max_span=32, max_gap=4)
    assert (memory.next_position, memory.reach) == (0, 0)
