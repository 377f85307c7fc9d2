"""Answers: prompts equal those of transformers, summaries weigh by their counts, evidence is of deep layers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import answer_decoder, evidence_layers
from models.answer_decoder import Answer, AnswerDecoder
from models.embeddings import Embeddings
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.slot_cache import SlotCache
from tests.conftest import append_frames, mark_summaries, new_memory, numbered, random_frames
from tests.models.reference import plain_decoder, restored_attention

QUESTION = "what is in view"


@pytest.fixture
def large_writer(model: LlavaOnevision) -> MemoryWriter:
    """A writer whose budget is never reached."""
    return MemoryWriter(model, MemoryConfig(tokens_per_layer=1_000), max_frames=8, reserve=128)


def copy_of(memory: Memory) -> Memory:
    copy = Memory(Slabs(memory.slabs.shape, slots=1, capacity=memory.slabs.capacity), 0)
    copy.copy_from(memory)
    return copy


def hidden_after_question(model: LlavaOnevision, memory: Memory) -> Tensor:
    """The decoder's last hidden state of the question, read over a memory that is not changed. -> [E]"""
    embedded = model.embed_question(torch.tensor(model.prompts.question(QUESTION).ids))
    return model.forward(Embeddings.pack([embedded]), SlotCache([memory], [len(embedded)], is_read_only=True))[0, -1]


def test_a_question_about_a_video_equals_the_whole_model_of_transformers(
    model: LlavaOnevision, large_writer: MemoryWriter
) -> None:
    """The reference builds the prompt itself: prefix, a placeholder for each video token and the newline, question."""
    memory, frames = new_memory(large_writer), random_frames(5)
    append_frames(large_writer, memory, frames)
    found = hidden_after_question(model, memory)

    network = model._network
    num_video_tokens = len(frames) * model.spec.layout.max_cells + 1
    ids = [*model.prompts.prefix, *[network.config.video_token_id] * num_video_tokens]
    ids += model.prompts.question(QUESTION).ids
    pixels = (frames.permute(0, 3, 1, 2).float() / 255 - model._mean) / model._std
    with restored_attention(model), torch.inference_mode():
        plain_decoder(model, "sdpa")
        output = network.model(input_ids=torch.tensor([ids]), pixel_values_videos=pixels[None])

    assert torch.allclose(found, output.last_hidden_state[0, -1], atol=1e-4)


def test_a_summary_of_three_tokens_weighs_as_the_three_tokens_do(
    model: LlavaOnevision, large_writer: MemoryWriter
) -> None:
    """A token with a count of three attracts the attention of three equal tokens, in every layer."""
    counted = new_memory(large_writer)
    append_frames(large_writer, counted, random_frames(3))
    repeated, uncounted = copy_of(counted), copy_of(counted)
    once = torch.arange(3 * model.spec.layout.max_cells)
    three_times = torch.cat((once, once.new_tensor([20, 20]))).sort().values
    for layer in range(counted.num_layers):
        tokens = counted.after_prefix(layer)
        repeated.replace(layer, tokens.at(three_times))
        tokens.counts[20] = 3
    mark_summaries(counted)

    expected = hidden_after_question(model, repeated)

    assert torch.allclose(hidden_after_question(model, counted), expected, atol=1e-4)
    assert not torch.allclose(hidden_after_question(model, uncounted), expected, atol=1e-4)


def test_summaries_weigh_by_their_counts_in_a_memory_that_answers_share(
    model: LlavaOnevision, large_writer: MemoryWriter
) -> None:
    counted, decoder = new_memory(large_writer), AnswerDecoder(model)
    append_frames(large_writer, counted, random_frames(3))
    for layer in range(counted.num_layers):
        counted.after_prefix(layer).counts[20] = 30
    mark_summaries(counted)
    own = Memory(Slabs(model.spec.kv, slots=1, capacity=64), 0)
    own.continue_from(counted)
    answers = [Answer(memory, model.prompts.question(QUESTION)) for memory in (own, copy_of(counted))]

    for _ in range(2):
        for answer in answers:
            decoder.step([answer])

    shared, alone = answers
    assert shared.ids == alone.ids
    for layer, weights in alone.attention_weights.items():
        assert torch.allclose(shared.attention_weights[layer], weights, atol=1e-6)


def test_the_deeper_two_thirds_of_the_layers_are_evidence(model: LlavaOnevision, writer: MemoryWriter) -> None:
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(4))
    decoder, answer = AnswerDecoder(model), Answer(copy_of(memory), model.prompts.question(QUESTION))
    decoder.step([answer])
    assert not decoder.is_ended(answer)

    assert evidence_layers.of(6) == [False, False, True, True, True, True]
    assert evidence_layers.of(24) == [False] * 8 + [True] * 16
    assert sorted(answer.attention_weights) == [2, 3, 4, 5]
    for layer, weights in answer.attention_weights.items():
        assert weights.shape == answer.cached_tokens(layer).positions.shape == (4 * model.spec.layout.max_cells,)
        assert 0 < float(weights.sum()) < 1


def test_the_evidence_of_an_answer_is_the_attention_of_all_its_tokens_but_the_end(
    model: LlavaOnevision, writer: MemoryWriter
) -> None:
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(4))
    decoder, answer = AnswerDecoder(model), Answer(copy_of(memory), model.prompts.question(QUESTION))
    decoder.step([answer])
    first = {layer: weights.clone() for layer, weights in answer.attention_weights.items()}
    decoder.step([answer])
    both = {layer: weights.clone() for layer, weights in answer.attention_weights.items()}
    (end,) = decoder.next_tokens([answer])
    assert end.queries is not None
    assert {layer.queries.shape[0] for layer in end.queries.layers.values()} == {1}  # of the last token alone
    decoder.append(answer, dataclasses.replace(end, id=model.prompts.end_id))

    assert all(bool((both[layer] >= first[layer]).all()) for layer in first)
    assert all(float(both[layer].sum()) > float(first[layer].sum()) for layer in first)
    assert all(torch.equal(answer.attention_weights[layer], both[layer]) for layer in first)


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_evidence_is_the_same_however_many_tokens_it_is_computed_for_at_once(
    model: LlavaOnevision, writer: MemoryWriter, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """The queries that wait are never more than that, however long the answer is."""
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(4))
    once, parts = (Answer(copy_of(memory), model.prompts.question(QUESTION)) for _ in range(2))
    decoder = AnswerDecoder(model)
    for _ in range(5):
        (token,) = decoder.next_tokens([once])
        decoder.append(once, dataclasses.replace(token, id=0))
    monkeypatch.setattr(answer_decoder, "_QUERIES_AT_ONCE", at_once)
    for _ in range(5):
        (token,) = decoder.next_tokens([parts])
        decoder.append(parts, dataclasses.replace(token, id=0))
        assert len(parts._queries) < at_once

    for layer, weights in once.attention_weights.items():
        assert torch.allclose(parts.attention_weights[layer], weights, atol=1e-6)


def test_the_attention_of_an_answer_is_counted_on_the_token_that_got_it(
    model: LlavaOnevision, writer: MemoryWriter
) -> None:
    """Neither on the prefix before the memory's tokens nor on the question after them."""
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(2))
    answer = Answer(copy_of(memory), model.prompts.question(QUESTION))
    prefix, length = memory.prefix_length, memory.lengths[0]

    for _ in range(2):
        answer.add_attention((0,), torch.arange(length + 5.0)[None])

    assert answer.attention_weights[0].tolist() == [2.0 * place for place in range(prefix, length)]
    assert numbered(answer.cached_tokens(0).token_ids).tolist() == list(range(length - prefix))
