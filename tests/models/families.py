"""Every family with random weights of a small shape."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from models.prompts import Prompts, PromptTexts
from models.qwen2_5_vl import Qwen25VL
from models.qwen3_5 import Qwen35
from models.qwen3_vl import Qwen3VL
from models.tiny import network, vocabulary
from models.vision_language_model import VideoLanguageModel
from tests.conftest import random_model

TEXTS = PromptTexts(
    prefix=vocabulary.PREFIX_TEXT,
    question=vocabulary.QUESTION_TEXT,
    guidance_local=vocabulary.GUIDANCE_LOCAL,
    guidance_global=vocabulary.GUIDANCE_GLOBAL,
    guidance_questions=vocabulary.GUIDANCE_QUESTIONS,
)


@dataclass(frozen=True)
class Family:
    """A model behind the seam, and the size of the frames that it is shown."""

    model: VideoLanguageModel
    width: int
    height: int

    def frames(self, num_frames: int, seed: int = 0) -> Tensor:
        """uint8 [F, H, W, 3]"""
        generator = torch.Generator().manual_seed(seed)
        size = (num_frames, self.height, self.width, 3)
        return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def llava_onevision() -> Family:
    model = random_model(network.build_model(vocabulary.build_tokenizer(), seed=0))

    return Family(model, 64, 64)


def qwen3_vl(
    config_class: type[PretrainedConfig] = Qwen3VLConfig,
    network: type[PreTrainedModel] = Qwen3VLForConditionalGeneration,
) -> Family:
    """Two deep layers, sections of interleaved M-RoPE as in the published models, wide frames of 3 x 5 cells."""
    tokenizer = _tokenizer()
    ids = _vision_ids(len(tokenizer))
    config = config_class(
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64, "initializer_range": 0.2,
        },
        text_config={
            "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096, "vocab_size": len(tokenizer) + 4,
            "initializer_range": 0.1, "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True,
            },
        },
        tie_word_embeddings=True,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3VL(network(config), Prompts(tokenizer, TEXTS), name="random", cells=(1, 15))
    return Family(model, 5 * 16, 3 * 16)


def qwen2_5_vl() -> Family:
    """Windows of vision attention of 2 x 2 cells, M-RoPE in sections, a step of frames as one video."""
    tokenizer = _tokenizer()
    ids = _vision_ids(len(tokenizer))
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8,
            "out_hidden_size": 64, "fullatt_block_indexes": [1], "window_size": 32, "tokens_per_second": 1,
            "initializer_range": 0.2,
        },
        text_config={
            "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 2,
            "num_key_value_heads": 1, "max_position_embeddings": 4096, "vocab_size": len(tokenizer) + 4,
            "initializer_range": 0.1, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
        },
        tie_word_embeddings=True,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    network = Qwen2_5_VLForConditionalGeneration(config)
    model = Qwen25VL(network, Prompts(tokenizer, TEXTS), name="random", cells=(1, 15))

    return Family(model, 5 * 16, 3 * 16)


def qwen3_5() -> Family:
    """One full layer behind two recurrent ones, twice; half of a head is rotated."""
    tokenizer = _tokenizer()
    ids = _vision_ids(len(tokenizer))
    config = Qwen3_5Config(
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8,
            "out_hidden_size": 64, "num_position_embeddings": 64, "initializer_range": 0.2,
        },
        text_config={
            "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096,
            "vocab_size": len(tokenizer) + 4, "initializer_range": 0.1,
            "layer_types": ["linear_attention", "linear_attention", "full_attention"] * 2,
            "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
            "linear_num_value_heads": 4, "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [3, 3, 2], "mrope_interleaved": True,
                "partial_rotary_factor": 0.5,
            },
        },
        tie_word_embeddings=True,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen35(Qwen3_5ForConditionalGeneration(config), Prompts(tokenizer, TEXTS), name="random", cells=(1, 15))
    return Family(model, 5 * 16, 3 * 16)


def _tokenizer() -> PreTrainedTokenizerBase:
    """The words of the tiny model and digits, so that the texts of different times are different tokens."""
    words = (*vocabulary.words(), *"0123456789")
    normalisers = vocabulary._normalisers()
    return vocabulary._word_level(words, vocabulary.SPECIAL, normalisers, pad=vocabulary.PAD, end=vocabulary.END)


def _vision_ids(first: int) -> dict[str, int]:
    """Ids behind a vocabulary for the tokens of vision."""
    return dict(zip(("image", "video", "vision_start", "vision_end"), range(first, first + 4), strict=True))


def rebuilt(model: VideoLanguageModel, network: PreTrainedModel, prompts: Prompts) -> VideoLanguageModel:
    """The same family around another network or other prompts."""
    adapter: Any = type(model)
    options = {} if model.spec.layout.side else {"cells": (1, 15)}
    other: VideoLanguageModel = adapter(network, prompts, name="rebuilt", **options)
    return other


def write_checkpoint(model: VideoLanguageModel, folder: Path) -> Path:
    """The files of a checkpoint as they are published, with the texts of the tiny model."""
    network = model._network  # type: ignore[attr-defined]
    network.save_pretrained(folder)
    model.prompts._tokenizer.save_pretrained(folder)
    texts = dataclasses.asdict(TEXTS)
    (folder / "hermes.json").write_text(json.dumps({"texts": texts}))
    vision, scale = network.config.vision_config, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    size: dict[str, object]
    if hasattr(vision, "temporal_patch_size"):
        pixels = {"shortest_edge": 16 * 16, "longest_edge": 15 * 16 * 16}
        size = {"size": pixels} | {name: getattr(vision, name) for name in ("patch_size", "temporal_patch_size")}
        size["merge_size"] = vision.spatial_merge_size
    else:
        size = {"size": {"height": vision.image_size, "width": vision.image_size}}
    (folder / "preprocessor_config.json").write_text(json.dumps(scale | size))
    return folder


FAMILIES: dict[str, Callable[[], Family]] = {
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_5": qwen3_5,
    "qwen3_vl": qwen3_vl,
}
