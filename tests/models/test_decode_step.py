"""A decode step of fixed shapes finds what an ordinary pass finds, whatever its rows read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.on_device import full_memories, plain_models
from benchmarks.on_device.serving_load import QUESTIONS
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import decode_graphs
from models.answer_decoder import Answer, AnswerDecoder
from models.decode_graphs import Decoded, DecodeGraphs, Step
from models.decode_step import AnswerSlabs
from models.embeddings import Embeddings
from models.errors import GraphNotRecorded, NotFinite
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from pipeline.device.answer_slots import AnswerSlots
from pipeline.device.device_config import DeviceConfig
from tests.conftest import assert_same, mark_summaries
from tests.host_reads import META, HostReads, HostTensors
from tests.models.families import FAMILIES

BUDGET = 128


@pytest.fixture(scope="module", params=[plain_models.TINY, plain_models.TINY_QWEN])
def model(request: pytest.FixtureRequest) -> VideoLanguageModel:
    return plain_models.load(request.param, torch.device("cpu"))


@pytest.fixture(scope="module")
def writer(model: VideoLanguageModel) -> MemoryWriter:
    return MemoryWriter(model, MemoryConfig(tokens_per_layer=BUDGET), max_frames=4, reserve=128)


@pytest.fixture(scope="module")
def memories(writer: MemoryWriter) -> list[Memory]:
    """Three streets of 4, 24 and 8 frames. The second one was compacted."""
    memories = full_memories.empty(writer, 3)
    for memory, num_frames in zip(memories, (4, 24, 8), strict=True):
        street = full_memories.street(writer.model, num_frames)
        for first in range(0, num_frames, 4):
            times_s = full_memories.times_s(writer.model, memory, 4)
            writer.append([memory], street[None, first : first + 4], times_s[None])
    assert [memory.compactions > 0 for memory in memories] == [False, True, False]
    return memories


def begun(writer: MemoryWriter, memories: Sequence[Memory]) -> tuple[AnswerSlots, list[Answer]]:
    """Answers on these memories in slots of their own. Their questions are of unequal lengths, and were read."""
    model, config = writer.model, DeviceConfig(max_running_questions=8, max_memory_copies=3)
    slots = AnswerSlots(model.spec.kv, config, writer.capacity)
    questions = [model.prompts.question(QUESTIONS[row % len(QUESTIONS)]) for row in range(len(memories))]
    answers = [Answer(slots.acquire(memory), prompt) for memory, prompt in zip(memories, questions, strict=True)]
    AnswerDecoder(model).step(answers)
    return slots, answers


class Recorder:
    """Makes steps repeatable by computing them each time, and knows how often and of how many rows that was."""

    def __init__(self) -> None:
        self.num_rows: list[int] = []

    def __call__(self, step: Step, _inputs: Tensor) -> Step:
        def counted(inputs: Tensor) -> Decoded:
            self.num_rows.append(inputs.shape[1])
            return step(inputs)

        return counted


def raise_error(error: GraphNotRecorded) -> None:
    raise error


def by_fixed_shapes(model: VideoLanguageModel, slots: AnswerSlots, record: Recorder) -> AnswerDecoder:
    return AnswerDecoder(model, DecodeGraphs(model, slots.slabs, record, on_failure=raise_error))


def contents(slots: AnswerSlots) -> list[Tensor]:
    """All keys and values but those in the spare places, which mean nothing."""
    every = (slots.slabs.copies.keys, slots.slabs.copies.values, slots.slabs.suffixes.keys, slots.slabs.suffixes.values)
    return [slab[:, :, :-1] for slabs in every for slab in slabs]


@pytest.mark.parametrize("rows", [[0], [1], [0, 0], [0, 1, 2], [1, 0, 1, 2, 2, 1], [2] * 8])
def test_a_step_of_fixed_shapes_finds_what_an_ordinary_pass_finds(
    writer: MemoryWriter, memories: list[Memory], rows: list[int]
) -> None:
    """Tokens, evidence, keys and values of lone answers, of those that share copies, and of padded batches."""
    asked = [memories[row] for row in rows]
    (slots, ordinary), (other_slots, fixed) = begun(writer, asked), begun(writer, asked)

    record = Recorder()
    decoder = by_fixed_shapes(writer.model, other_slots, record)
    for _ in range(4):
        AnswerDecoder(writer.model).step(ordinary)
        decoder.step(fixed)

    assert record.num_rows == [{1: 1, 2: 2, 3: 4, 6: 8, 8: 8}[len(rows)]] * 4
    assert [answer.ids for answer in fixed] == [answer.ids for answer in ordinary]
    assert [answer.memory.lengths for answer in fixed] == [answer.memory.lengths for answer in ordinary]
    for mine, other in zip(fixed, ordinary, strict=True):
        assert mine.attention_weights.keys() == other.attention_weights.keys()
        for layer, weights in other.attention_weights.items():
            assert torch.allclose(mine.attention_weights[layer], weights, atol=1e-5)
    for written, expected in zip(contents(other_slots), contents(slots), strict=True):
        assert torch.allclose(written, expected, atol=1e-5)


def test_what_is_no_number_in_one_answer_changes_no_other(writer: MemoryWriter, memories: list[Memory]) -> None:
    """The first answer runs behind the copy that the others read, in this step and in the next."""
    (slots, answers), (other_slots, unharmed) = begun(writer, [memories[0]] * 3), begun(writer, [memories[0]] * 3)
    damaged = by_fixed_shapes(DamagedFirstRow(writer.model), slots, Recorder())
    first, *others = damaged.next_tokens(answers)
    decoder, other_decoder = (by_fixed_shapes(writer.model, each, Recorder()) for each in (slots, other_slots))
    expected = other_decoder.next_tokens(unharmed)[1:]
    with pytest.raises(NotFinite):
        decoder.append(answers[0], first)

    assert [token.id for token in others] == [token.id for token in expected]
    for token, same in zip(others, expected, strict=True):
        for layers, rows in same.attention_rows.items():
            assert_same([token.attention_rows[layers][:, :BUDGET]], [rows[:, :BUDGET]])
    for answer, token in zip(answers[1:], others, strict=True):
        decoder.append(answer, token)
    assert all(token.id is not None for token in decoder.next_tokens(answers))


@pytest.mark.parametrize("has_fixed_shapes", [True, False])
def test_a_pass_that_fails_leaves_nothing_that_is_no_number_to_the_others(
    writer: MemoryWriter, memories: list[Memory], has_fixed_shapes: bool
) -> None:
    """The first answer runs behind the copy that the others read: they failed too when they were done again alone."""
    (slots, answers), (_, unharmed) = begun(writer, [memories[0]] * 3), begun(writer, [memories[0]] * 3)

    def decoder_of(model: VideoLanguageModel) -> AnswerDecoder:
        return by_fixed_shapes(model, slots, Recorder()) if has_fixed_shapes else AnswerDecoder(model)

    with pytest.raises(torch.OutOfMemoryError):
        decoder_of(OutOfMemory(writer.model)).next_tokens(answers)
    assert all(tensor.isfinite().all() for tensor in contents(slots))

    expected = AnswerDecoder(writer.model).next_tokens(unharmed)
    for answer, token in zip(answers, expected, strict=True):
        assert [found.id for found in decoder_of(writer.model).next_tokens([answer])] == [token.id]


def test_a_question_whose_pass_fails_leaves_nothing_that_is_no_number(
    writer: MemoryWriter, memories: list[Memory]
) -> None:
    """Some families read a token before the question's own: its last one was left."""
    model = OutOfMemory(writer.model)
    slots = AnswerSlots(model.spec.kv, DeviceConfig(), writer.capacity)
    answers = [Answer(slots.acquire(memory), model.prompts.question(QUESTIONS[0])) for memory in memories[:2]]

    with pytest.raises(torch.OutOfMemoryError):
        AnswerDecoder(model).next_tokens(answers)

    assert all(tensor.isfinite().all() for tensor in contents(slots))


class DamagedFirstRow:
    """A model that reads no number for the token of the first answer."""

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed_tokens(self, ids: Tensor) -> Embeddings:
        embedded = self._model.embed_tokens(ids)
        tokens = embedded.tokens.clone()
        tokens[:, 0] = torch.nan
        return Embeddings(tokens, embedded.deep)


class OutOfMemory(DamagedFirstRow):
    """One that has no memory left then."""

    def embed_question(self, ids: Tensor) -> Embeddings:
        embedded = self._model.embed_question(ids)
        return Embeddings(torch.full_like(embedded.tokens, torch.nan), embedded.deep)

    def logits(self, _hidden: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_memory_with_summaries_and_a_full_slot_need_an_ordinary_pass(
    writer: MemoryWriter, memories: list[Memory]
) -> None:
    slots, (lone, sharing) = begun(writer, [memories[0]] * 2)
    assert slots.slabs.can_step(lone.memory)
    assert slots.slabs.can_step(sharing.memory)
    assert not slots.slabs.can_step(memories[0])  # a camera's, in other slabs

    assert sharing.memory.base is not None
    mark_summaries(sharing.memory.base)
    assert not slots.slabs.can_step(sharing.memory)
    lone.memory.extend(slots.slabs.copies.capacity - 1 - lone.memory.longest, 0)
    assert not slots.slabs.can_step(lone.memory)


def test_a_step_that_cannot_be_recorded_is_an_ordinary_pass_and_is_reported_once(
    writer: MemoryWriter, memories: list[Memory]
) -> None:
    def fail(_step: Step, inputs: Tensor) -> Step:
        raise GraphNotRecorded(f"{inputs.shape[1]} rows")

    failures: list[GraphNotRecorded] = []
    (slots, answers), (_, ordinary) = begun(writer, memories), begun(writer, memories)
    decoder = AnswerDecoder(writer.model, DecodeGraphs(writer.model, slots.slabs, fail, failures.append))
    for _ in range(3):
        decoder.step(answers)
        AnswerDecoder(writer.model).step(ordinary)

    assert [str(failure) for failure in failures] == ["4 rows"]
    assert [answer.ids for answer in answers] == [answer.ids for answer in ordinary]


def test_a_step_that_lacked_memory_is_recorded_some_passes_later(
    writer: MemoryWriter, memories: list[Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another cause does not go away, see above."""
    monkeypatch.setattr(decode_graphs, "_RETRY_AFTER", 2)
    tried: list[int] = []

    def record(step: Step, inputs: Tensor) -> Step:
        tried.append(inputs.shape[1])
        if len(tried) < 3:
            raise GraphNotRecorded("no memory") from torch.OutOfMemoryError("CUDA out of memory")
        return step

    failures: list[GraphNotRecorded] = []
    slots, answers = begun(writer, memories)
    graphs = DecodeGraphs(writer.model, slots.slabs, record, failures.append)
    of_steps = [graphs.decode([answers[0].memory], [5]) is not None for _ in range(8)]

    assert of_steps == [False] * 6 + [True] * 2
    assert (tried, len(failures)) == ([1, 1, 1], 2)


def on_meta(name: str, dtype: torch.dtype = torch.float32) -> tuple[VideoLanguageModel, AnswerSlabs]:
    """A model and slots for its answers on the device `meta`, which holds no numbers."""
    model: Any = FAMILIES[name]().model
    model._network.to(META, dtype)
    kv = dataclasses.replace(model.spec.kv, device=META, devices=(), dtype=dtype)
    model.spec = dataclasses.replace(model.spec, kv=kv)
    copies, suffixes = (Slabs(model.spec.kv, slots=number, capacity=20 * number) for number in (2, 3))
    return model, AnswerSlabs(copies, suffixes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_a_step_neither_asks_the_device_for_a_number_nor_sends_it_one(name: str, dtype: torch.dtype) -> None:
    """Attention takes the way that it takes on CUDA, whose graphs allow neither. For each number of rows."""
    model, slabs = on_meta(name, dtype)
    recorded: list[Step] = []

    def record(step: Step, _inputs: Tensor) -> Step:
        recorded.append(step)
        return lambda inputs: step(inputs.to(META))

    DecodeGraphs(model, slabs, record, on_failure=raise_error).decode([Memory(slabs.copies, 0)], [5])
    for num_rows in (1, 2, 4, 8, 16, 32):
        inputs = slabs.pack([], [], num_rows).to(META)
        with HostTensors() as from_host:
            decoded = recorded[0](inputs)

        assert from_host.operations == []
        assert (decoded.logits.shape[0], decoded.weights.shape[1:]) == (num_rows, (num_rows, 39))


def test_the_next_tokens_of_answers_take_one_transfer_to_the_device_and_one_back() -> None:
    model, slabs = on_meta("llava_onevision")
    graphs = DecodeGraphs(model, slabs, lambda step, _: lambda inputs: step(inputs.to(META)), on_failure=raise_error)
    answers = [Answer(Memory(slabs.copies, slot), model.prompts.question(QUESTIONS[0])) for slot in range(2)]
    for answer in answers:
        answer.ids.append(5)

    with HostTensors() as sent, HostReads() as reads:
        AnswerDecoder(model, graphs).next_tokens(answers)

    assert (sent.num_sent, reads.num_reads) == (1, 1)
