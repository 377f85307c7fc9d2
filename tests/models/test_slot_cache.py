"""An unmodified decoder over slots equals the same decoder over its own cache, and scores equal its attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import DynamicCache

from benchmarks import scorers
from cache_store import tiers
from cache_store.memory import Memory
from cache_store.tiers import MemoryConfig, PolicyName, Role
from models import importance
from models.answer_decoder import Answer, AnswerDecoder
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.slot_cache import ATTENTION_NAME, SlotCache
from tests.conftest import append_frames, assert_same, contents, new_memory, random_frames


def plain_decoder(model: LlavaOnevision, implementation: str):  # type: ignore[no-untyped-def]
    """The decoder with an attention function of transformers; `restored_attention` puts ours back."""
    model._network.set_attn_implementation({"text_config": implementation, "vision_config": "sdpa"})
    return model.decoder


@contextmanager
def restored_attention(model: LlavaOnevision) -> Iterator[None]:
    """Puts the attention function of slots back at the end."""
    try:
        yield
    finally:
        model._network.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})


@pytest.fixture
def slots(model: LlavaOnevision) -> Iterator[None]:
    """Puts the attention function of slots back after a test."""
    with restored_attention(model):
        yield


def whole_sequence(model: LlavaOnevision, frames: torch.Tensor) -> torch.Tensor:
    """Prefix and frames as one sequence. -> [1, N, E]"""
    prefix = model.embed_tokens(torch.tensor(model.prompts.prefix))
    return torch.cat((prefix, model.embed_frames(frames).flatten(0, 1)))[None]


@pytest.mark.usefixtures("slots")
def test_three_clips_and_a_question_equal_one_forward_of_transformers(model: LlavaOnevision) -> None:
    writer = large_writer(model)
    memory, frames = new_memory(writer), random_frames(12)
    append_frames(writer, memory, frames)
    question = model.prompts.question("what is in view")
    embedded = model.embed_question(torch.tensor(question.ids))
    found = model.forward(embedded[None], SlotCache([memory], len(embedded)))

    with torch.inference_mode():
        whole = torch.cat((whole_sequence(model, frames), embedded[None]), dim=1)
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


@pytest.mark.usefixtures("slots")
def test_role_scores_equal_the_attention_weights_of_the_whole_decoder(model: LlavaOnevision) -> None:
    """Scores are the attention of propagated hidden states, causal inside each prompt; the memory does not change."""
    writer = large_writer(model)
    memory, frames = new_memory(writer), random_frames(8)
    append_frames(writer, memory, frames)
    before, position = contents(memory), memory.next_position
    found = writer.scorer.score([memory])[0]
    assert_same(before, contents(memory))
    assert memory.next_position == position

    expected = eager_scores(model, writer, frames)
    for layer, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6), layer


@pytest.mark.usefixtures("slots")
def test_scores_without_propagated_hidden_states_differ(model: LlavaOnevision) -> None:
    """The negative control: the scores of the published code agree in the first layer only."""
    writer = large_writer(model)
    memory, frames = new_memory(writer), random_frames(8)
    append_frames(writer, memory, frames)
    found = writer.scorer.score([memory])[0]
    unpropagated = scorers.unpropagated_roles(model).score([memory])[0]
    for layer, (mine, theirs) in enumerate(zip(found, unpropagated, strict=True)):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6) == (layer == 0)


def large_writer(model: LlavaOnevision) -> MemoryWriter:
    config = MemoryConfig(tokens_per_layer=1_000, policy=PolicyName.HERMES)
    return MemoryWriter(model, config, max_frames=8, reserve=128)


def prompt_of(model: LlavaOnevision, role: Role) -> tuple[int, ...]:
    local, whole = model.prompts.guidance_local, model.prompts.guidance_global
    return {Role.SENSORY: local, Role.WORKING: local + whole, Role.LONG_TERM: whole}[role]


def eager_scores(model: LlavaOnevision, writer: MemoryWriter, frames: torch.Tensor) -> list[torch.Tensor]:
    """The slow reference: each prompt alone through transformers' eager decoder, over its own cache."""
    decoder, prefix = plain_decoder(model, "eager"), len(model.prompts.prefix)
    scores: list[torch.Tensor] = []
    with torch.inference_mode():
        for layer, plan in enumerate(writer.plans):
            ids = torch.tensor(prompt_of(model, plan.role))
            whole = torch.cat((whole_sequence(model, frames), model.embed_tokens(ids)[None]), dim=1)
            attention = decoder(inputs_embeds=whole, output_attentions=True).attentions[layer][0]
            scores.append(attention.mean(dim=0)[-len(ids) :, prefix : -len(ids)].mean(dim=0))
    return scores


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


def more_slots(slabs, slots: int):  # type: ignore[no-untyped-def]
    return type(slabs)(slabs.shape, slots=slots, capacity=slabs.capacity)


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
            decoder.prefill(answer)
            found.append(answer)
        return found

    together, alone = started(), started()
    for _ in range(5):
        decoder.decode_step(together)
        for answer in alone:
            decoder.decode_step([answer])
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
    decoder.prefill(answer)
    decoder.decode_step([answer])
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
        model.forward(torch.zeros(1, 16, 7), SlotCache([memory], 16))
    assert_same(before, contents(memory))
    assert memory.next_position == position


def test_each_layer_is_scored_by_the_prompt_of_its_role(model: LlavaOnevision) -> None:
    plans = tiers.plan_layers(6, MemoryConfig())
    scorer = importance.role_scorer(model, plans)
    local, whole = len(model.prompts.guidance_local), len(model.prompts.guidance_global)
    assert scorer.num_positions == local + whole


@pytest.mark.usefixtures("slots")
def test_a_bank_of_questions_scores_by_the_peak_attention_of_its_tokens(model: LlavaOnevision) -> None:
    """The slow reference: each question alone through transformers' eager decoder, over its own cache."""
    writer = large_writer(model)
    memory, frames = new_memory(writer), random_frames(8)
    append_frames(writer, memory, frames)
    before, position = contents(memory), memory.next_position
    found = importance.question_scorer(model, writer.plans).score([memory])[0]
    assert_same(before, contents(memory))
    assert memory.next_position == position

    decoder, prefix = plain_decoder(model, "eager"), len(model.prompts.prefix)
    questions = [model.embed_question(torch.tensor(ids)) for ids in model.prompts.guidance_questions]
    with torch.inference_mode():
        weights = []
        for question in questions:
            whole = torch.cat((whole_sequence(model, frames), question[None]), dim=1)
            attentions = decoder(inputs_embeds=whole, output_attentions=True).attentions
            weights.append([layer[0, :, -len(question) :, prefix : -len(question)].mean(dim=0) for layer in attentions])
    for layer, mine in enumerate(found):
        expected = torch.cat([of_question[layer] for of_question in weights]).amax(dim=0)
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-6), layer


def test_memories_in_a_batch_get_the_scores_of_single_memories(model: LlavaOnevision) -> None:
    writer = large_writer(model)
    slabs = more_slots(new_memory(writer).slabs, 2)
    first, second = Memory(slabs, 0), Memory(slabs, 1)
    for memory, frames in ((first, 8), (second, 3)):
        writer.reset(memory)
        append_frames(writer, memory, random_frames(frames, seed=frames))
    scorer = importance.question_scorer(model, writer.plans)
    for together, memory in zip(scorer.score([first, second]), (first, second), strict=True):
        for mine, alone in zip(together, scorer.score([memory])[0], strict=True):
            assert torch.allclose(mine, alone, rtol=1e-4, atol=1e-6)


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
