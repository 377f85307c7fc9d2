"""LLaVA-OneVision 0.5B in its published shape with random weights: speed and memory are real, answers are not."""

from __future__ import annotations

import dataclasses

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from models.llava_onevision import TEXTS, LlavaOnevision
from models.policy_choice import BY_FAMILY
from models.prompts import Prompts, PromptTexts

POLICY = BY_FAMILY[
    LlavaOnevision
].policy  # of published weights; by its shortened texts the model counts as one of ours
_BYTES_PER_TOKEN = 4


def load() -> LlavaOnevision:
    """The model, in bfloat16 on the CPU."""
    prompts = Prompts(byte_tokenizer(), shortened(TEXTS))
    return LlavaOnevision(_half_billion(), prompts, name="llava-onevision-0.5b, random weights")


def shortened(texts: PromptTexts) -> PromptTexts:
    """Texts with about as many bytes as the real vocabulary gives tokens."""
    return dataclasses.replace(
        texts,
        question="{question}<|im_end|>" + "." * 5,
        guidance_local=texts.guidance_local[::_BYTES_PER_TOKEN],
        guidance_global=texts.guidance_global[::_BYTES_PER_TOKEN],
        guidance_questions=tuple(text[::_BYTES_PER_TOKEN] for text in texts.guidance_questions),
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each byte: the real vocabulary needs a download."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def _half_billion() -> LlavaOnevisionForConditionalGeneration:
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
