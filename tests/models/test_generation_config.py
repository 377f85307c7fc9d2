"""The next token of an answer is the one that transformers would choose from the same generation config."""

from __future__ import annotations

from pathlib import Path

import torch

from cache_store.memory import Memory
from models import generation_config
from models.answer_decoder import Answer, AnswerDecoder
from models.checkpoint_files import CheckpointFiles
from models.generation_config import GenerationConfig, TokenSampler
from models.llava_onevision import LlavaOnevision
from tests.conftest import append_frames, new_memory, random_frames, random_model
from tests.models.reference import large_writer, plain_decoder, restored_attention

QUESTION = "what is in view"
NEW_TOKENS = 24


def answer_ids(model: LlavaOnevision, generation: GenerationConfig) -> list[int]:
    """Decoded over a memory of five frames."""
    generating = random_model(model._network, generation)
    memory = new_memory(large_writer(generating))
    append_frames(large_writer(generating), memory, random_frames(5))
    copy = Memory(type(memory.slabs)(memory.slabs.shape, slots=1, capacity=memory.slabs.capacity), 0)
    copy.copy_from(memory)
    decoder, answer = AnswerDecoder(generating), Answer(copy, generating.prompts.question(QUESTION))
    decoder.step([answer])
    while not decoder.is_ended(answer) and len(answer.ids) < NEW_TOKENS:
        decoder.step([answer])
    return answer.ids


def generated_ids(model: LlavaOnevision, **options: object) -> list[int]:
    """What `generate` of transformers gives for the same frames and question."""
    frames, network = random_frames(5), model._network
    num_video_tokens = len(frames) * model.spec.layout.max_cells + 1
    ids = [*model.prompts.prefix, *[network.config.video_token_id] * num_video_tokens]
    ids += model.prompts.question(QUESTION).ids
    pixels = (frames.permute(0, 3, 1, 2).float() / 255 - model._mean) / model._std
    prompt = torch.tensor([ids])
    with restored_attention(model), torch.inference_mode():
        plain_decoder(model, "sdpa")
        output = network.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            pixel_values_videos=pixels[None],
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            **options,
        )
    return output[0, len(ids) :].tolist()


NO_END = GenerationConfig(end_ids=(10_000,))


def test_greedy_answers_and_those_with_a_repetition_penalty_are_those_of_transformers(model: LlavaOnevision) -> None:
    greedy = answer_ids(model, NO_END)
    penalised = answer_ids(model, GenerationConfig(end_ids=NO_END.end_ids, repetition_penalty=3.0))

    assert greedy == generated_ids(model, eos_token_id=10_000)
    assert penalised == generated_ids(model, eos_token_id=10_000, repetition_penalty=3.0)
    assert penalised != greedy
    assert len(set(penalised)) > len(set(greedy))


def test_each_of_several_end_tokens_ends_an_answer(model: LlavaOnevision) -> None:
    ids = answer_ids(model, GenerationConfig(end_ids=NO_END.end_ids, repetition_penalty=1.5))
    for end in (ids[1], ids[4]):
        found = answer_ids(model, GenerationConfig(end_ids=(10_000, end), repetition_penalty=1.5))
        assert found == ids[: ids.index(end) + 1]


def test_a_sampled_token_is_one_of_the_most_likely_and_the_same_each_time() -> None:
    logits = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    so_far = [list(range(row)) for row in range(1, 65)]
    sampled = GenerationConfig(end_ids=(0,), is_sampled=True, temperature=2.0, top_k=3)

    found = TokenSampler(sampled).sample(logits, so_far)

    assert found == TokenSampler(sampled).sample(logits, so_far)
    ranks = [(logits[row] > logits[row, token]).sum().item() for row, token in enumerate(found)]
    assert set(ranks) == {0, 1, 2}


def test_tokens_that_are_drawn_one_after_the_other_are_drawn_anew() -> None:
    sampler = TokenSampler(GenerationConfig(end_ids=(0,), is_sampled=True))
    found = sampler.sample(torch.zeros(20, 100), [[1] * length for length in range(1, 21)])
    assert len(set(found)) > 10


def test_a_penalty_is_as_exact_as_that_of_transformers_whatever_the_type_of_the_logits() -> None:
    """In bfloat16 8 / 1.05 is 7.625, and the token that was said already would be said again."""
    sampler = TokenSampler(GenerationConfig(end_ids=(0,), repetition_penalty=1.05))
    assert sampler.sample(torch.tensor([[8.0, 7.625]], dtype=torch.bfloat16), [[0]]) == [1]


def test_an_infinite_logit_is_no_number() -> None:
    logits = torch.tensor([[0.0, torch.inf], [0.0, torch.nan], [0.0, 1.0], [0.0, -torch.inf]])
    assert TokenSampler(NO_END).sample(logits, [[1]] * 4) == [None, None, 1, 0]


def test_one_end_token_that_the_network_has_is_enough(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 1000]}')
    assert generation_config.read(CheckpointFiles(tmp_path), None, vocab_size=100).end_ids == (3, 1000)


def test_of_a_high_share_only_the_most_likely_token_is_left() -> None:
    logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    sampler = TokenSampler(GenerationConfig(end_ids=(0,), is_sampled=True, top_p=0.5))
    assert sampler.sample(logits, [[1], [1]]) == [0, 1]
