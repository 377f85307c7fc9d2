"""What a step of frames moves between host and device: the host waits once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.memory_writer import MemoryWriter
from tests.host_reads import META, HostReads
from tests.models.families import FAMILIES, Family


def on_meta(family: Family) -> Any:
    """The family's model on the device `meta`."""
    model: Any = family.model
    model._network.to(META)
    scaling = getattr(model, "_patches", model)
    scaling._mean, scaling._std = scaling._mean.to(META), scaling._std.to(META)
    model.spec = dataclasses.replace(model.spec, kv=dataclasses.replace(model.spec.kv, device=META, devices=()))
    return model


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_step_of_several_cameras_asks_its_device_once(name: str) -> None:
    """Whether all of its numbers are numbers. Frames, words and places go there while the host goes on."""
    family = FAMILIES[name]()
    budget = 4 * family.model.spec.layout.max_tokens(4)
    writer = MemoryWriter(
        family.model, MemoryConfig(tokens_per_layer=budget, recent_frames=4), max_frames=4, reserve=64
    )
    writer.model = on_meta(family)
    slabs = Slabs(writer.model.spec.kv, slots=3, capacity=writer.capacity)
    memories = [Memory(slabs, slot) for slot in range(3)]
    frames = [family.frames(num_frames) for num_frames in (4, 2, 3)]
    rows, columns = writer.model.spec.layout.grid(family.width, family.height)
    admitted = [torch.rand(len(step), rows * columns) > 0.5 for step in frames]
    times_s = [torch.arange(len(step), dtype=torch.float64) for step in frames]

    with HostReads() as reads:
        sizes = writer.append(memories, frames, times_s, admitted)

    assert reads.num_reads == 1
    assert [memory.longest for memory in memories] == [sum(groups) for groups in sizes]
