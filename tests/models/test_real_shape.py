"""LLaVA-OneVision 0.5B, its real shape with random weights, through the same code as the tiny model."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from cache_store import memory, slabs, tiers
from models import answering, keeper, llava_onevision, prompts


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte a token: the real vocabulary needs a download."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: index for index, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def half_billion() -> LlavaOnevisionForConditionalGeneration:
    """The published configuration of LLaVA-OneVision with Qwen2 0.5B, in bfloat16."""
    text = Qwen2Config(
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        vocab_size=152_000,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    )
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(vision_config=vision, text_config=text, tie_word_embeddings=True)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        return LlavaOnevisionForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_clip_and_one_question_go_through_the_real_shape() -> None:
    torch.set_num_threads(2)
    words = prompts.Prompts(byte_tokenizer(), llava_onevision.TEXTS)
    model = llava_onevision.LlavaOnevision(half_billion(), words, name="llava-onevision-0.5b")
    assert (model.spec.tokens_per_frame, model.spec.frame_size, model.spec.kv.nbytes_per_token) == (196, 384, 512)

    config = tiers.MemoryConfig(tokens_per_layer=400, recent_frames=1)
    reader = keeper.Keeper(model, config, max_frames=3, reserve=512)
    held = memory.Memory(slabs.Slabs(model.spec.kv, slots=1, capacity=reader.capacity), 0)
    reader.begin(held)
    frames = torch.randint(0, 256, (1, 3, 384, 384, 3), dtype=torch.uint8)
    reader.feed([held], frames, torch.arange(3, dtype=torch.float64)[None])

    scratch = memory.Memory(slabs.Slabs(model.spec.kv, slots=1, capacity=reader.capacity + 512), 0)
    scratch.copy_from(held)
    answer = answering.Answer(scratch, words.question("What colour was the last car?"))
    writer = answering.Answering(model, reader.plans)
    writer.read(answer)
    writer.step([answer])

    assert held.lengths == [held.prefix_length + 400] * 24
    assert held.compactions == 1
    assert len(answer.ids) == 2
    assert all(bool(torch.isfinite(weights).all()) for weights in answer.looked.values())
