"""A fingerprint changes with all that the keys and values of a memory depend on, and with nothing else."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from models.llava_onevision import LlavaOnevision
from models.processor_config import DEFAULT_SCALE, PixelScale
from models.prompts import Prompts, PromptTexts
from models.tiny import network, vocabulary

TOKENIZER = vocabulary.build_tokenizer()
TEXTS = PromptTexts(
    prefix=vocabulary.PREFIX_TEXT,
    question=vocabulary.QUESTION_TEXT,
    guidance_local=vocabulary.GUIDANCE_LOCAL,
    guidance_global=vocabulary.GUIDANCE_GLOBAL,
    guidance_questions=vocabulary.GUIDANCE_QUESTIONS,
)
NETWORK = network.build_model(TOKENIZER, seed=0)


def fingerprint(
    weights: LlavaOnevisionForConditionalGeneration = NETWORK,
    texts: PromptTexts = TEXTS,
    *,
    pixels: PixelScale = DEFAULT_SCALE,
    name: str = "random",
    reliable_positions: int | None = None,
) -> str:
    prompts = Prompts(TOKENIZER, texts)
    model = LlavaOnevision(weights, prompts, name=name, pixels=pixels, reliable_positions=reliable_positions)
    return model.spec.fingerprint


def with_config(part: str, key: str, value: object) -> LlavaOnevisionForConditionalGeneration:
    """The same weights under a config in which one value is another."""
    changed = copy.deepcopy(NETWORK)
    config = changed.config if part == "model" else getattr(changed.config, part)
    assert getattr(config, key) != value
    setattr(config, key, value)
    return changed


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("model", "projector_hidden_act", "relu"),
        ("model", "vision_feature_layer", -2),
        ("model", "vision_feature_select_strategy", "default"),
        ("vision_config", "image_size", 128),
        ("vision_config", "patch_size", 16),
        ("vision_config", "num_attention_heads", 2),
        ("vision_config", "hidden_act", "gelu"),
        ("vision_config", "layer_norm_eps", 1e-5),
        ("text_config", "num_attention_heads", 2),
        ("text_config", "num_key_value_heads", 1),
        ("text_config", "hidden_act", "gelu"),
        ("text_config", "rms_norm_eps", 1e-5),
        ("text_config", "rope_parameters", {"rope_type": "default", "rope_theta": 1_000_000.0}),
        ("text_config", "rope_parameters", {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}),
        ("text_config", "layer_types", ["full_attention"] * 5 + ["sliding_attention"]),
        ("text_config", "sliding_window", 64),
    ],
)
def test_it_changes_with_what_the_config_says_of_encoder_projector_and_decoder(
    part: str, key: str, value: object
) -> None:
    assert fingerprint(with_config(part, key, value)) != fingerprint()


@pytest.mark.parametrize("pixels", [PixelScale(mean=(0.4, 0.5, 0.5)), PixelScale(std=(0.5, 0.5, 0.25))])
def test_it_changes_with_the_scale_of_pixels(pixels: PixelScale) -> None:
    assert fingerprint(pixels=pixels) != fingerprint()


def test_it_changes_with_the_prefix() -> None:
    assert fingerprint(texts=dataclasses.replace(TEXTS, prefix="<user> watch")) != fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.model.language_model.norm.weight.mul_(1.5),
        lambda weights: weights.model.vision_tower.embeddings.patch_embedding.weight.mul_(1.5),
        lambda weights: weights.bfloat16(),
    ],
)
def test_it_changes_with_the_weights_and_their_number_type(
    change: Callable[[LlavaOnevisionForConditionalGeneration], object],
) -> None:
    changed = copy.deepcopy(NETWORK)
    with torch.no_grad():
        change(changed)
    assert fingerprint(changed) != fingerprint()


@pytest.mark.parametrize(
    "texts",
    [
        dataclasses.replace(TEXTS, question="{question} please <assistant>"),
        dataclasses.replace(TEXTS, guidance_local="what is here"),
        dataclasses.replace(TEXTS, guidance_global="what came first"),
        dataclasses.replace(TEXTS, guidance_questions=("what is in view",)),
        dataclasses.replace(TEXTS, no_evidence_for=("never",)),
    ],
)
def test_words_that_no_memory_depends_on_leave_it_as_it_is(texts: PromptTexts) -> None:
    assert fingerprint(texts=texts) == fingerprint()


def test_neither_the_name_nor_the_limits_of_positions_change_it() -> None:
    assert fingerprint(name="other", reliable_positions=100) == fingerprint()
    assert fingerprint(with_config("text_config", "max_position_embeddings", 8_192)) == fingerprint()
