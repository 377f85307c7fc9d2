"""A pass over memories of unequal lengths equals one pass for each, and waits for no number of the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cache_store.extent import Extent
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models import query_capture
from models.embeddings import Embeddings
from models.packing import PackedTexts
from models.query_capture import QueryCapture, TokenQueries
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel
from ops import attention as attention_ops
from tests.conftest import assert_same, mark_summaries
from tests.host_reads import META, HostTensors
from tests.models.families import FAMILIES

CAPACITY = 64
# For each memory of a pass: its slot, its new tokens, and the valid tokens of its even and of its odd layers.
rows = st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40))
passes = st.lists(rows, min_size=1, max_size=4).flatmap(
    lambda drawn: st.tuples(st.just(drawn), st.permutations(range(4)), st.booleans())
)
small = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module", params=list(FAMILIES))
def model(request: pytest.FixtureRequest) -> VideoLanguageModel:
    return FAMILIES[request.param]().model


@pytest.fixture(scope="module")
def slabs(model: VideoLanguageModel) -> Slabs:
    """Four slots of keys, values and states of no content."""
    slabs = Slabs(model.spec.kv, slots=4, capacity=CAPACITY)
    generator = torch.Generator().manual_seed(0)
    for tensor in (*slabs.keys, *slabs.values, *slabs.states):
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return slabs


def memory_of(slabs: Slabs, slot: int, lengths: Sequence[int]) -> Memory:
    """A memory of what is in the slot, its layers of unequal lengths."""
    kept = [slab[slot].clone() for slab in slabs.states]
    memory = Memory(slabs, slot)  # clears the states
    of_layers = tuple(lengths[layer % 2] for layer in range(memory.num_layers))
    memory.rewind(Extent(of_layers, max(lengths), 0, None, tuple(kept)))
    return memory


def captured(num_layers: int) -> AttentionCapture:
    """The attention of each memory's newest token, in all layers but the first."""
    return AttentionCapture([None, *[slice(-1, None)] * (num_layers - 1)])


def forward(
    model: VideoLanguageModel, memories: list[Memory], unread: list[Embeddings], *, is_read_only: bool
) -> tuple[Tensor, QueryCapture]:
    """With the queries of each memory's newest token, in all layers but the first."""
    capture = QueryCapture([False, *[True] * (memories[0].num_layers - 1)])
    lengths = [len(tokens) for tokens in unread]
    forward_pass = SlotCache(memories, lengths, is_read_only=is_read_only, capture=capture)
    return model.forward(Embeddings.pack(unread), forward_pass), capture


def attention(capture: QueryCapture, row: int, memory: Memory) -> dict[int, Tensor]:
    """The attention weights of a memory's newest token on its cached ones, by layer. [N_l]"""
    token = TokenQueries(capture.layers, row)
    return {layer: query_capture.summed_weights([token], layer, memory) for layer in capture.layers}


def written(memory: Memory, num_new: int) -> list[Tensor]:
    """Copies of keys and values of the new tokens of every layer."""
    return [
        slab[memory.slot, :, length : length + num_new].clone()
        for slabs in (memory.slabs.keys, memory.slabs.values)
        for slab, length in zip(slabs, memory.lengths, strict=True)
    ]


@small
@given(drawn=passes, is_decode=st.booleans())
def test_a_packed_pass_equals_one_pass_for_each_memory(
    model: VideoLanguageModel, slabs: Slabs, drawn: tuple[Any, list[int], bool], is_decode: bool
) -> None:
    """Hidden states, keys and values that are written, and the attention that is captured; slots in any order."""
    of_rows, slots, is_read_only = drawn
    memories = [memory_of(slabs, slot, lengths) for slot, (_, *lengths) in zip(slots, of_rows, strict=False)]
    ids = [torch.arange(1 if is_decode else length) + 5 for length, *_ in of_rows]
    unread = [model.embed_tokens(tokens) for tokens in ids]

    hidden, capture = forward(model, memories, unread, is_read_only=is_read_only)
    together = [written(memory, len(tokens)) for memory, tokens in zip(memories, ids, strict=True)]

    for row, (memory, tokens) in enumerate(zip(memories, unread, strict=True)):
        alone, capture_alone = forward(model, [memory], [tokens], is_read_only=is_read_only)
        part = hidden[:, sum(map(len, ids[:row])) :][:, : len(tokens)]
        assert torch.allclose(part, alone, atol=1e-4)
        for mine, other in zip(together[row], written(memory, len(tokens)), strict=True):
            assert torch.allclose(mine, other, atol=1e-4)
        found, expected = attention(capture, row, memory), attention(capture_alone, 0, memory)
        assert sorted(found) == sorted(expected) == list(range(1, memory.num_layers))
        for layer, weights in expected.items():
            assert torch.allclose(found[layer], weights, atol=1e-5)
            assert len(weights) == memory.lengths[layer]


def test_a_decode_step_reads_slots_of_two_slabs(model: VideoLanguageModel, slabs: Slabs) -> None:
    """The slots follow each other in number alone."""
    others = Slabs(model.spec.kv, slots=2, capacity=CAPACITY)
    memories = [memory_of(slabs, 0, (5, 7)), memory_of(others, 1, (5, 7))]
    unread = [model.embed_tokens(torch.tensor([token])) for token in (5, 6)]

    hidden, _ = forward(model, memories, unread, is_read_only=False)

    for row, (memory, token) in enumerate(zip(memories, unread, strict=True)):
        alone, _ = forward(model, [memory], [token], is_read_only=False)
        assert torch.allclose(hidden[:, row : row + 1], alone, atol=1e-4)


def alike(slabs: Slabs, number: int, *, length: int, reach: int) -> list[Memory]:
    """Memories in slots that follow each other, as long as each other; their keys have moved by up to `reach`."""
    generator = torch.Generator().manual_seed(length)
    slabs.moved.copy_(torch.randint(-reach, reach + 1, slabs.moved.shape, generator=generator))
    memories = [memory_of(slabs, slot, (length, length)) for slot in range(4 - number, 4)]
    for memory in memories:
        memory.renumber([], next_position=memory.next_position, reach=reach)
    return memories


@small
@given(number=st.integers(2, 4), num_new=st.integers(2, 6), length=st.integers(1, 40), reach=st.integers(0, 9))
def test_memories_that_are_alike_equal_one_pass_for_each(
    model: VideoLanguageModel, slabs: Slabs, number: int, num_new: int, length: int, reach: int
) -> None:
    memories = alike(slabs, number, length=length, reach=reach)
    unread = [model.embed_tokens(torch.arange(num_new) + 5 + 7 * row) for row in range(number)]

    hidden, capture = forward(model, memories, unread, is_read_only=False)
    together = [written(memory, num_new) for memory in memories]

    for row, memory in enumerate(memories):
        alone, capture_alone = forward(model, [memory], [unread[row]], is_read_only=False)
        assert torch.allclose(hidden[:, row * num_new : (row + 1) * num_new], alone, atol=1e-4)
        for mine, other in zip(together[row], written(memory, num_new), strict=True):
            assert torch.allclose(mine, other, atol=1e-4)
        found = attention(capture, row, memory)
        for layer, weights in attention(capture_alone, 0, memory).items():
            assert torch.allclose(found[layer], weights, atol=1e-5)


@small
@given(drawn=passes, is_decode=st.booleans())
def test_the_queries_of_a_pass_give_the_attention_weights_of_the_pass(
    model: VideoLanguageModel, slabs: Slabs, drawn: tuple[Any, list[int], bool], is_decode: bool
) -> None:
    """Also two tokens together, whose weights are summed."""
    of_rows, slots, _ = drawn
    memories = [memory_of(slabs, slot, lengths) for slot, (_, *lengths) in zip(slots, of_rows, strict=False)]
    unread = [model.embed_tokens(torch.arange(1 if is_decode else length) + 5) for length, *_ in of_rows]
    weights = captured(memories[0].num_layers)
    forward_pass = SlotCache(memories, [len(tokens) for tokens in unread], is_read_only=True, capture=weights)
    model.forward(Embeddings.pack(unread), forward_pass)

    _, queries = forward(model, memories, unread, is_read_only=False)

    for row, memory in enumerate(memories):
        token = TokenQueries(queries.layers, row)
        for layer, of_rows_weights in weights.weights.items():
            twice = query_capture.summed_weights([token, token], layer, memory)
            assert torch.allclose(twice, 2 * of_rows_weights[row], atol=1e-5)


class Operations(TorchDispatchMode):
    """Counts the operations that are not views."""

    num_operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num_operations += not any(result.alias_info for result in func._schema.returns)
        return func(*args, **(kwargs or {}))


def test_alike_memories_and_packed_texts_take_no_operations_of_their_own() -> None:
    """As many operations for 4 memories as for 2, but for their scores, and for 6 texts as for 2."""
    model = FAMILIES["llava_onevision"]().model
    slabs = Slabs(model.spec.kv, slots=4, capacity=CAPACITY)

    def operations(number: int, texts: int, *, is_scored: bool) -> int:
        memories = alike(slabs, number, length=20, reach=5)
        packed = PackedTexts([model.embed_tokens(torch.arange(3) + 5)] * texts)
        capture = AttentionCapture([slice(0, 3 * texts)] * memories[0].num_layers, attention_ops.peak_weight)
        unread = [model.embed_tokens(torch.arange(3) + 5)] * number
        with torch.inference_mode(), Operations() as counted:
            packed.forward(model, memories, capture if is_scored else None)
            forward(model, memories, unread, is_read_only=False)
        return counted.num_operations

    operations(2, 2, is_scored=True)  # the first pass makes a table of rotations

    assert operations(4, 2, is_scored=False) == operations(2, 2, is_scored=False)
    assert operations(2, 6, is_scored=True) == operations(2, 2, is_scored=True)


@small
@given(number=st.integers(1, 3), length=st.integers(1, 40), last=st.integers(1, 3))
def test_a_pass_for_its_attention_alone_has_that_of_a_whole_pass(
    model: VideoLanguageModel, slabs: Slabs, number: int, length: int, last: int
) -> None:
    memories = alike(slabs, number, length=length, reach=3)
    texts = PackedTexts([model.embed_tokens(torch.arange(size) + 5) for size in (3, 5)])
    wanted = [slice(0, 8) if layer <= last else None for layer in range(memories[0].num_layers)]
    whole, part = (AttentionCapture(wanted, attention_ops.peak_weight) for _ in range(2))

    texts.forward(model, memories, whole)
    texts.attend(model, memories, part)

    assert sorted(part.weights) == sorted(whole.weights) == [layer for layer, rows in enumerate(wanted) if rows]
    for layer, weights in whole.weights.items():
        assert_same([part.weights[layer][row] for row in range(number)], [weights[row] for row in range(number)])


@small
@given(drawn=passes)
def test_a_read_only_pass_writes_nothing(
    model: VideoLanguageModel, slabs: Slabs, drawn: tuple[Any, list[int], bool]
) -> None:
    of_rows, slots, _ = drawn
    memories = [memory_of(slabs, slot, lengths) for slot, (_, *lengths) in zip(slots, of_rows, strict=False)]
    everything = (*slabs.keys, *slabs.values, *slabs.states, slabs.positions, slabs.counts)
    before = [tensor.clone() for tensor in everything]

    forward(
        model,
        memories,
        [model.embed_tokens(torch.arange(length) + 5) for length, *_ in of_rows],
        is_read_only=True,
    )

    assert all(torch.equal(tensor, was) for tensor, was in zip(everything, before, strict=True))


def on_meta(name: str) -> tuple[VideoLanguageModel, list[Memory]]:
    """A model of a family and three memories on the device `meta`, which holds no numbers."""
    model: Any = FAMILIES[name]().model
    model._network.to(META)
    model.spec = dataclasses.replace(model.spec, kv=dataclasses.replace(model.spec.kv, device=META, devices=()))
    slabs = Slabs(model.spec.kv, slots=3, capacity=CAPACITY)
    return model, [memory_of(slabs, slot, lengths) for slot, lengths in enumerate(((7, 9), (20, 3), (7, 9)))]


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_a_pass_sends_the_device_the_positions_of_its_tokens_and_which_are_the_last(name: str) -> None:
    """Once, not for each layer: a pass over new frames, and one that scores a memory whose positions have moved."""
    model, memories = on_meta(name)
    memories[0].reach = 5
    model.spec.kv.positions.shift(memories[0].keys(0)[None], memories[0].slabs.moved[:1, 0, :7], 5)  # makes its table
    unread = [model.embed_tokens(torch.arange(length, device=META)) for length in (3, 1, 5)]
    texts = PackedTexts([model.embed_tokens(torch.arange(length, device=META)) for length in (4, 2)])

    with HostTensors() as of_frames:
        forward(model, memories, unread, is_read_only=False)
    with HostTensors() as of_scores:
        texts.forward(model, memories, captured(memories[0].num_layers))

    assert (of_frames.num_sent, of_scores.num_sent) == (2, 1)  # a pass that scores needs no last ones


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_pass_waits_for_no_number_of_the_device(name: str) -> None:
    """To ask the device `meta` for a number, or how many are true, is an error."""
    model, memories = on_meta(name)
    slabs = memories[0].slabs
    with pytest.raises((RuntimeError, NotImplementedError)):
        int(slabs.counts.sum())

    for lengths in ((1, 1, 1), (3, 1, 5)):
        unread = [model.embed_tokens(torch.arange(length, device=META)) for length in lengths]
        hidden, _ = forward(model, memories, unread, is_read_only=False)
        assert (hidden.device, hidden.shape[1]) == (META, sum(lengths))
    layers = [memories[0].after_prefix(layer) for layer in range(memories[0].num_layers)]
    unmoved = [torch.zeros(len(tokens), dtype=torch.int64, device=META) for tokens in layers]
    memories[0].renumber(unmoved, next_position=memories[0].next_position, reach=5)
    mark_summaries(memories[1])
    texts = PackedTexts([model.embed_tokens(torch.arange(length, device=META)) for length in (4, 2)])
    capture = AttentionCapture([slice(0, 6)] * memories[0].num_layers, attention_ops.peak_weight)
    assert texts.forward(model, memories, capture).device == META
    assert {weights.device for layer in capture.weights.values() for weights in layer.values()} == {META}
