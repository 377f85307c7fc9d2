"""Memories in slots of int8 rows, in every family: read nearly as exact ones, never changed by a question."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from cache_store.slabs import Slabs
from models import memory_restorer
from models.answer_decoder import Answer, AnswerDecoder
from models.embeddings import Embeddings
from models.memory_writer import MemoryWriter
from models.slot_cache import SlotCache
from tests.conftest import assert_same
from tests.models.families import FAMILIES, Family
from tests.models.test_families import QUESTION, append, copy_of, everything, reference, saved, writer_of

BUDGET = 100


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]()


def memories_of(writer: MemoryWriter, slots: int = 1, rows: RowFormat = RowFormat.INT8) -> list[Memory]:
    slabs = Slabs(writer.model.spec.kv, slots=slots, capacity=writer.capacity + 64, rows=rows)
    memories = [Memory(slabs, slot) for slot in range(slots)]
    for memory in memories:
        writer.reset(memory)
    return memories


def logits_of(family: Family, memory: Memory) -> Tensor:
    """Of a question, read over the memory, which is not changed."""
    model = family.model
    embedded = model.embed_question(torch.tensor(model.prompts.question(QUESTION).ids))
    forward_pass = SlotCache([memory], [len(embedded)], is_read_only=True)
    return model.logits(model.forward(Embeddings.pack([embedded]), forward_pass)[0])


def test_a_stream_and_a_question_are_nearly_one_forward_of_transformers(family: Family) -> None:
    writer, frames = writer_of(family.model), family.frames(8)
    memory = memories_of(writer)[0]
    append(writer, memory, frames, (4, 4))

    found = logits_of(family, memory)

    ids = family.model.prompts.question(QUESTION).ids
    expected = reference(family, frames, ids, (4, 4)).logits[0, -len(found) :]
    # Each number is off by up to 1/254 of its row's largest, at random; logits were off by 0.14 to 0.28 % of theirs.
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.01


def test_an_answer_is_that_over_the_same_numbers_kept_exactly_and_changes_nothing(family: Family) -> None:
    """Answers run behind a copy, in which the rows are widened once."""
    writer, decoder = writer_of(family.model, BUDGET), AnswerDecoder(family.model)
    memory = memories_of(writer)[0]
    append(writer, memory, family.frames(24))
    assert memory.compactions
    before = everything(memory)
    base = copy_of(memory)
    assert base.layer(0).keys.dtype == family.model.spec.kv.dtype
    own = Memory(Slabs(family.model.spec.kv, slots=1, capacity=64), 0)
    own.continue_from(base)
    answers = [Answer(one, family.model.prompts.question(QUESTION)) for one in (own, copy_of(memory))]

    for _ in range(3):
        for answer in answers:
            decoder.step([answer])

    assert answers[0].ids == answers[1].ids
    assert torch.allclose(logits_of(family, memory), logits_of(family, copy_of(memory)), atol=1e-4)
    assert_same(before, everything(memory))


def test_cameras_in_one_pass_are_those_one_by_one(family: Family) -> None:
    writer, frames = writer_of(family.model, BUDGET), family.frames(12)
    together, alone = memories_of(writer, 2), memories_of(writer, 2)
    at_s = torch.arange(12, dtype=torch.float64) / 2
    for start in range(0, 12, 4):
        part, times_s = frames[start : start + 4], at_s[start : start + 4]
        writer.append(together, torch.stack((part, part.flip(0))), torch.stack((times_s, times_s)))
        writer.append(alone[:1], part[None], times_s[None])
        writer.append(alone[1:], part.flip(0)[None], times_s[None])

    for one, other in zip(together, alone, strict=True):
        assert one.lengths == other.lengths
        for layer in range(one.num_layers):
            # A number beside the middle between two levels may fall to either side.
            assert torch.allclose(one.keys(layer), other.keys(layer), atol=float(one.keys(layer).abs().max()) / 100)


def test_one_new_token_is_written_into_int8_rows_as_several_are(family: Family) -> None:
    """A pass of one token each reads slots as they lie, which int8 rows cannot be."""
    writer = writer_of(family.model)
    memory, exact = memories_of(writer)[0], memories_of(writer, rows=RowFormat.EXACT)[0]
    hidden = []
    for one in (memory, exact):
        append(writer, one, family.frames(4))
        embedded = family.model.embed_tokens(torch.tensor([5]))
        hidden.append(family.model.forward(Embeddings.pack([embedded]), SlotCache([one], [1])))

    assert 0 < float((hidden[0] - hidden[1]).norm() / hidden[1].norm()) < 0.01


@pytest.mark.parametrize("after", list(RowFormat))
@pytest.mark.parametrize("before", list(RowFormat))
def test_a_memory_goes_on_where_slots_keep_rows_in_another_way(
    family: Family, before: RowFormat, after: RowFormat
) -> None:
    """To the bit where they keep them in the same way."""
    writer = writer_of(family.model, BUDGET)
    memory, loaded = memories_of(writer, rows=before)[0], memories_of(writer, rows=after)[0]
    append(writer, memory, family.frames(24))
    memory_restorer.restore(writer, loaded, saved(memory))
    if before is after:
        assert_same(everything(memory), everything(loaded))
    for one in (memory, loaded):
        append(writer, one, family.frames(2, seed=5), first_s=1_012.0)

    error = (logits_of(family, loaded) - logits_of(family, memory)).norm() / logits_of(family, memory).norm()
    assert error < (1e-6 if before is after else 0.01)


def test_a_memory_of_int8_rows_that_is_over_its_new_budget_is_compacted_as_it_is(family: Family) -> None:
    large, small = writer_of(family.model, 2 * BUDGET), writer_of(family.model, BUDGET // 2)
    memory, loaded = memories_of(large)[0], memories_of(small)[0]
    append(large, memory, family.frames(24))
    memory_restorer.restore(small, loaded, saved(memory))

    assert loaded.longest - loaded.prefix_length <= BUDGET // 2
    for layer in range(loaded.num_layers):
        left, was = loaded.after_prefix(layer), memory.after_prefix(layer)
        places = (was.token_ids == left.token_ids[:, None]).int().argmax(dim=1)
        assert torch.equal(was.token_ids[places], left.token_ids)
        assert torch.equal(left.keys, was.keys[:, places])
        assert torch.equal(left.values, was.values[:, places])
