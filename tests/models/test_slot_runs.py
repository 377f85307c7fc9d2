"""Few new tokens and a plain memory are attended in one call, as they lie in the slot; others in two, merged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cache_store.extent import Extent
from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from cache_store.slabs import Slabs
from models import slot_runs
from models.embeddings import Embeddings
from models.query_capture import QueryCapture
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel
from tests.host_reads import META
from tests.models.families import FAMILIES

NUM_NEW, LENGTHS = 5, (20, 7)  # valid tokens of even and of odd layers


class AttentionCalls(TorchDispatchMode):
    """Counts the calls of torch's fused attention."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += "_scaled_dot_product_" in str(func)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def model() -> VideoLanguageModel:
    return FAMILIES["llava_onevision"]().model


def memories_of(model: VideoLanguageModel, number: int, rows: RowFormat = RowFormat.EXACT) -> list[Memory]:
    """Memories of one length, of no content, in slots that follow each other."""
    slabs, generator = Slabs(model.spec.kv, slots=number, capacity=64, rows=rows), torch.Generator().manual_seed(0)
    for slab in (*slabs.keys, *slabs.values):
        slab.copy_(10 * torch.randn(slab.shape, generator=generator))
    memories = [Memory(slabs, slot) for slot in range(number)]
    for memory in memories:
        memory.rewind(Extent(tuple(LENGTHS[layer % 2] for layer in range(memory.num_layers)), 20, 0, None, ()))
    return memories


def forward(
    model: VideoLanguageModel, memories: list[Memory], *, is_read_only: bool = False
) -> tuple[list[Tensor], float]:
    """Hidden states, and queries and normalizers of the newest tokens; and the calls of attention in a layer."""
    capture = QueryCapture([True] * memories[0].num_layers)
    ids = torch.arange(NUM_NEW * len(memories), device=model.spec.device) + 5
    forward_pass = SlotCache(memories, [NUM_NEW] * len(memories), is_read_only=is_read_only, capture=capture)
    with AttentionCalls() as calls:
        hidden = model.forward(Embeddings(model.embed_tokens(ids).tokens[None]), forward_pass)
    of_layers = [tensor for layer in capture.layers.values() for tensor in (layer.queries, layer.normalizer)]
    return [hidden, *of_layers], calls.number / memories[0].num_layers


@pytest.mark.parametrize("number", [1, 3])
def test_one_call_gives_what_two_merged_ones_give(
    model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Up to a limit, layer by layer: new tokens times all tokens that they could attend to."""
    memories = memories_of(model, number)
    limit = NUM_NEW * (LENGTHS[0] + NUM_NEW)
    monkeypatch.setattr(slot_runs, "_MAX_MASKED", limit)
    one_call, num_calls = forward(model, memories)
    monkeypatch.setattr(slot_runs, "_MAX_MASKED", 0)
    merged, num_merged_calls = forward(model, memories)
    monkeypatch.setattr(slot_runs, "_MAX_MASKED", limit - 1)
    _, num_mixed_calls = forward(model, memories)

    assert (num_calls, num_merged_calls) == (1, 2)
    assert num_mixed_calls == 1.5  # in two those of the longer layers
    for mine, other in zip(one_call, merged, strict=True):
        assert torch.allclose(mine, other, atol=1e-4)


@pytest.mark.parametrize("reason", ["moved", "summaries", "int8", "read only"])
def test_tokens_that_do_not_lie_in_the_slot_as_they_are_read_take_two_calls(
    model: VideoLanguageModel, reason: str
) -> None:
    memories = memories_of(model, 1, RowFormat.INT8 if reason == "int8" else RowFormat.EXACT)
    memories[0].reach = 3 if reason == "moved" else 0
    memories[0].has_summaries = reason == "summaries"

    _, num_calls = forward(model, memories, is_read_only=reason == "read only")

    assert num_calls == 2


def test_a_gpu_takes_two_calls(model: Any) -> None:
    """Its kernel with a mask would copy the keys for each query head. `meta` stands for the GPU."""
    model._network.to(META)
    model.spec = dataclasses.replace(model.spec, kv=dataclasses.replace(model.spec.kv, device=META, devices=()))
    memories = [Memory(Slabs(model.spec.kv, slots=1, capacity=64), 0)]
    memories[0].rewind(Extent((20,) * memories[0].num_layers, 20, 0, None, ()))

    assert forward(model, memories)[1] == 2
