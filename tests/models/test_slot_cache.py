"""An unmodified decoder over slots equals the same decoder over its own cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from cache_store.memory import Memory
from models.answer_decoder import Answer, AnswerDecoder
from models.embeddings import Embeddings
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.slot_cache import SlotCache
from tests.conftest import append_frames, assert_same, contents, new_memory, random_frames
from tests.models.reference import large_writer, more_slots, plain_decoder, restored_attention, whole_sequence


@pytest.fixture
def slots(model: LlavaOnevision) -> Iterator[None]:
    """Puts the attention function of slots back after a test."""
    with restored_attention(model):
        yield


@pytest.mark.usefixtures("slots")
def test_three_clips_and_a_question_equal_one_forward_of_transformers(model: LlavaOnevision) -> None:
    writer = large_writer(model)
    memory, frames = new_memory(writer), random_frames(12)
    append_frames(writer, memory, frames)
    question = model.prompts.question("what is in view")
    embedded = model.embed_question(torch.tensor(question.ids))
    found = model.forward(Embeddings.pack([embedded]), SlotCache([memory], [len(embedded)]))

    with torch.inference_mode():
        whole = torch.cat((whole_sequence(model, frames), embedded.tokens[None]), dim=1)
        expected = plain_decoder(model, "sdpa")(inputs_embeds=whole).last_hidden_state

    assert torch.allclose(found, expected[:, -len(embedded) :], atol=1e-4)


@pytest.mark.parametrize("step", [1, 2, 3, 6])
def test_below_the_budget_the_length_of_clips_does_not_matter(model: LlavaOnevision, step: int) -> None:
    writer, frames = large_writer(model), random_frames(6)
    whole, parts = new_memory(writer), new_memory(writer)
    times = torch.arange(6, dtype=torch.float64)[None]
    writer.append([whole], frames[None], times)
    for start in range(0, 6, step):
        writer.append([parts], frames[None, start : start + step], times[:, start : start + step])
    for left, right in zip(contents(whole), contents(parts), strict=True):
        assert torch.allclose(left.double(), right.double(), atol=1e-4)


def test_two_memories_in_one_batch_equal_two_passes(writer: MemoryWriter) -> None:
    """Unequal lengths, compaction included: the same tokens stay, and the same values to rounding."""
    together = [new_memory(writer), new_memory(writer)]
    shared = together[0].slabs
    together[1] = Memory(more_slots(shared, 2), 1)
    together[0] = Memory(together[1].slabs, 0)
    for memory in together:
        writer.reset(memory)
    append_frames(writer, together[1], random_frames(4, seed=9))
    alone = [new_memory(writer), new_memory(writer)]
    append_frames(writer, alone[1], random_frames(4, seed=9))
    for turn in range(4):
        frames = torch.stack((random_frames(4, seed=turn), random_frames(4, seed=50 + turn)))
        times = torch.stack((torch.arange(4.0) + 10 * turn,) * 2).double() + 100
        writer.append(together, frames, times)
        for row, memory in enumerate(alone):
            writer.append([memory], frames[[row]], times[[row]])
    for left, right in zip(together, alone, strict=True):
        assert left.lengths == right.lengths
        for index in range(left.num_layers):
            assert torch.equal(left.layer(index).token_ids, right.layer(index).token_ids)
            assert torch.allclose(left.layer(index).keys, right.layer(index).keys, atol=1e-4)


def test_two_answers_in_one_batch_equal_two_single_answers(model: LlavaOnevision, writer: MemoryWriter) -> None:
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(12))
    decoder = AnswerDecoder(model)
    questions = ["what is in view", "how many cars so far"]

    def started() -> list[Answer]:
        slabs = more_slots(memory.slabs, 2)
        found = []
        for slot, text in enumerate(questions):
            copy = Memory(slabs, slot)
            copy.copy_from(memory)
            answer = Answer(copy, model.prompts.question(text))
            decoder.step([answer])
            found.append(answer)
        return found

    together, alone = started(), started()
    for _ in range(5):
        decoder.step(together)
        for answer in alone:
            decoder.step([answer])
    assert [answer.ids for answer in together] == [answer.ids for answer in alone]


def test_an_answer_never_changes_the_memory_it_copies(model: LlavaOnevision, writer: MemoryWriter) -> None:
    """The memory stays the same to the bit, and so does what is appended after the answer."""
    questioned, quiet = new_memory(writer), new_memory(writer)
    for memory in (questioned, quiet):
        append_frames(writer, memory, random_frames(12))
    before = contents(questioned)
    decoder = AnswerDecoder(model)
    copy = Memory(more_slots(questioned.slabs, 1), 0)
    copy.copy_from(questioned)
    answer = Answer(copy, model.prompts.question("what came first"))
    decoder.step([answer])
    decoder.step([answer])
    copy.clear()
    assert_same(before, contents(questioned))
    for memory in (questioned, quiet):
        append_frames(writer, memory, random_frames(8, seed=3), first_s=6.0)
    assert_same(contents(quiet), contents(questioned))


def test_a_forward_pass_that_fails_leaves_the_memory_unchanged(model: LlavaOnevision, writer: MemoryWriter) -> None:
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(4))
    before, position = contents(memory), memory.next_position
    with pytest.raises(RuntimeError):
        model.forward(Embeddings(torch.zeros(1, 16, 7)), SlotCache([memory], [16]))
    assert_same(before, contents(memory))
    assert memory.next_position == position


@pytest.mark.usefixtures("slots")
def test_the_reference_gives_the_same_clip_by_clip_as_at_once(model: LlavaOnevision) -> None:
    """A check of the reference itself: transformers with its own cache."""
    decoder, frames = plain_decoder(model, "sdpa"), random_frames(4)
    whole = whole_sequence(model, frames)
    with torch.inference_mode():
        at_once = decoder(inputs_embeds=whole).last_hidden_state
        cache = DynamicCache(config=decoder.config)
        parts = [decoder(inputs_embeds=part, past_key_values=cache).last_hidden_state for part in whole.split(16, 1)]
    assert torch.allclose(torch.cat(parts, dim=1), at_once, atol=1e-4)


def test_a_video_without_the_newline_of_newer_transformers_has_the_same_cells(
    model: LlavaOnevision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 5.17 returns its features."""
    layout = model.spec.layout
    groups = layout.group(torch.randint(0, 256, (2, layout.square, layout.square, 3), dtype=torch.uint8))
    expected = model.embed_frames(groups).tokens
    find_features = model._network.model.get_video_features

    def find_cells_alone(pixels: Tensor) -> Any:
        found = find_features(pixels)
        found.pooler_output = found.pooler_output[:, : 2 * layout.max_cells]
        return found

    monkeypatch.setattr(model._network.model, "get_video_features", find_cells_alone)

    assert torch.equal(model.embed_frames(groups).tokens, expected)
