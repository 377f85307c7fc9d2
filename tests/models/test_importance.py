"""Scores of cached tokens equal the attention weights of the whole decoder of transformers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks import scorers
from cache_store import tiers
from cache_store.memory import Memory
from cache_store.tiers import MemoryConfig, PolicyName, Role
from models import importance, registry
from models.importance import ImportanceScorer
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from tests.conftest import append_frames, assert_same, contents, new_memory, random_frames
from tests.models.reference import large_writer, more_slots, plain_decoder, restored_attention, whole_sequence


@pytest.fixture
def slots(model: LlavaOnevision) -> Iterator[None]:
    """Puts the attention function of slots back after a test."""
    with restored_attention(model):
        yield


@pytest.mark.usefixtures("slots")
def test_role_scores_equal_the_attention_weights_of_the_whole_decoder(model: LlavaOnevision) -> None:
    """Scores are the attention of propagated hidden states, causal inside each prompt; the memory does not change."""
    writer = large_writer(model)
    frames = random_frames(8)
    found = scores_of(writer, writer.scorer, frames)

    expected = eager_scores(model, writer, frames)
    for layer, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        is_newest = writer.plans[layer].recency_share == 1  # whatever attention its tokens get
        assert torch.allclose(mine, torch.zeros_like(theirs) if is_newest else theirs, rtol=1e-4, atol=1e-6), layer


@pytest.mark.usefixtures("slots")
@pytest.mark.parametrize("is_second", [False, True], ids=["llava_onevision", "qwen3_vl"])
def test_scores_without_propagated_hidden_states_differ(model: VideoLanguageModel, is_second: bool) -> None:
    """The negative control: the scores of the published code agree in the first layer only."""
    model = registry.load_model("tiny-qwen3-vl", "cpu") if is_second else model
    writer = large_writer(model)
    memory, frames = new_memory(writer), random_frames(8)
    append_frames(writer, memory, frames)
    found = scorers.mean_of_bare_roles(model).score([memory])[0]
    unpropagated = scorers.unpropagated_roles(model).score([memory])[0]
    for layer, (mine, theirs) in enumerate(zip(found, unpropagated, strict=True)):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6) == (layer == 0)


def scores_of(writer: MemoryWriter, scorer: ImportanceScorer, frames: torch.Tensor) -> list[torch.Tensor]:
    """The scores of a memory of these frames, by layer; asserts that scoring does not change the memory."""
    memory = new_memory(writer)
    append_frames(writer, memory, frames)
    before, position = contents(memory), memory.next_position
    scores = scorer.score([memory])[0]
    assert_same(before, contents(memory))
    assert memory.next_position == position
    return scores


def prompt_of(model: LlavaOnevision, role: Role) -> torch.Tensor:
    """The guidance of a role as a user would ask it. -> [T, E]"""
    local, whole = model.prompts.texts.guidance_local, model.prompts.texts.guidance_global
    text = {Role.SENSORY: local, Role.WORKING: f"{local} {whole}", Role.LONG_TERM: whole}[role]
    return model.embed_question(torch.tensor(model.prompts.question(text).ids)).tokens


def eager_scores(model: LlavaOnevision, writer: MemoryWriter, frames: torch.Tensor) -> list[torch.Tensor]:
    """The slow reference: each prompt alone through transformers' eager decoder, over its own cache."""
    decoder, prefix = plain_decoder(model, "eager"), len(model.prompts.prefix)
    scores: list[torch.Tensor] = []
    with torch.inference_mode():
        for layer, plan in enumerate(writer.plans):
            prompt = prompt_of(model, plan.role)
            whole = torch.cat((whole_sequence(model, frames), prompt[None]), dim=1)
            attention = decoder(inputs_embeds=whole, output_attentions=True).attentions[layer][0]
            scores.append(attention.mean(dim=0)[-len(prompt) :, prefix : -len(prompt)].amax(dim=0))
    return scores


def test_each_layer_is_scored_by_the_prompt_of_its_role(model: LlavaOnevision) -> None:
    plans = tiers.plan_layers(6, MemoryConfig())
    scorer = importance.role_scorer(model, plans)
    assert scorer.num_positions == len(prompt_of(model, Role.WORKING))
    assert scorer.num_tokens == sum(len(prompt_of(model, role)) for role in (Role.WORKING, Role.LONG_TERM))


def test_layers_that_keep_the_newest_tokens_alone_can_be_all_layers(model: LlavaOnevision) -> None:
    config = MemoryConfig(policy=PolicyName.HERMES, sensory_share=1.0, long_term_share=0.0)
    writer = MemoryWriter(model, config, max_frames=8, reserve=64)
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(80))

    assert memory.compactions
    assert memory.longest - memory.prefix_length <= writer.capacity


def test_what_questions_begin_with_is_read_once_for_a_peak_and_counts_each_time_in_a_mean(
    model: LlavaOnevision,
) -> None:
    plans = tiers.plan_layers(6, MemoryConfig())
    questions = [model.embed_question(torch.tensor(ids)).tokens for ids in model.prompts.guidance_questions]
    starts = {
        tuple(map(float, question[: end + 1].flatten())) for question in questions for end in range(len(question))
    }

    assert importance.question_scorer(model, plans).num_tokens == len(starts)
    assert scorers.mean_of_questions(model).num_tokens == sum(map(len, questions))


@pytest.mark.usefixtures("slots")
def test_a_bank_of_questions_scores_by_the_peak_attention_of_its_tokens(model: LlavaOnevision) -> None:
    """The slow reference: each question alone through transformers' eager decoder, over its own cache."""
    writer = large_writer(model)
    frames = random_frames(8)
    found = scores_of(writer, importance.question_scorer(model, writer.plans), frames)

    decoder, prefix = plain_decoder(model, "eager"), len(model.prompts.prefix)
    questions = [model.embed_question(torch.tensor(ids)) for ids in model.prompts.guidance_questions]
    with torch.inference_mode():
        weights = []
        for question in questions:
            whole = torch.cat((whole_sequence(model, frames), question.tokens[None]), dim=1)
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
