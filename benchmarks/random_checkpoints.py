"""Models of the published shapes with random weights: speed and memory are real, answers are not.

As folders, loading them is what a user's model goes through; as models, they need PyTorch and transformers alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)

from console.planning.model_shapes import MODELS, ModelShape, VisionShape
from models import llava_onevision, qwen2_5_vl, qwen3_vl
from models.llava_onevision import LlavaOnevision
from models.prompts import Prompts, PromptTexts
from models.qwen2_5_vl import Qwen25VL
from models.qwen3_vl import Qwen3VL
from models.vision_language_model import VideoLanguageModel

_BYTES_PER_TOKEN = 4
_VISION_TOKENS = ("image", "video", "vision_start", "vision_end")
_DEEPSTACK = {24: [5, 11, 17], 27: [8, 16, 24]}  # by the layers of the vision encoder


def write(name: str, folder: Path) -> PretrainedConfig:
    """Writes a checkpoint of the shape that is published under this name, in bfloat16; its config."""
    network, config = network_of(MODELS[name])
    _filled(network, config).save_pretrained(folder)
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    texts = _shortened(_family(MODELS[name]).texts)
    (folder / "hermes.json").write_text(json.dumps({"texts": dataclasses.asdict(texts)}))
    return config


def network_of(shape: ModelShape) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    """transformers' class of a published shape, and the config for it."""
    return _family(shape).describe(shape, _tokenizer())


def model_of(name: str, device: torch.device) -> VideoLanguageModel:
    """A model of a published shape, in bfloat16, on a device."""
    family, (network, config) = _family(MODELS[name]), network_of(MODELS[name])
    with device:
        filled = _filled(network, config)
    return family.adapter(filled, Prompts(_tokenizer(), _shortened(family.texts)), name=name)


def _tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with one token for each byte: the real vocabulary needs a download."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", *(f"<|{token}|>" for token in _VISION_TOKENS)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def _shortened(texts: PromptTexts) -> PromptTexts:
    """Texts with about as many bytes as the real vocabulary gives tokens."""
    return dataclasses.replace(
        texts,
        question="{question}<|im_end|>" + "." * 5,
        guidance_local=texts.guidance_local[::_BYTES_PER_TOKEN],
        guidance_global=texts.guidance_global[::_BYTES_PER_TOKEN],
        guidance_questions=tuple(text[::_BYTES_PER_TOKEN] for text in texts.guidance_questions),
    )


def _filled(network: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        return network(config)
    finally:
        torch.set_default_dtype(before)


def _llava(shape: ModelShape, tokenizer: PreTrainedTokenizerBase) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    vision = SiglipVisionConfig(**_vision(shape.vision), image_size=384, patch_size=14, vision_use_head=False)
    text = Qwen2Config(**_decoder(shape, 1e6), max_position_embeddings=32_768)
    ids = _ids(tokenizer)
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        tie_word_embeddings=shape.decoder.is_tied,
        image_token_id=ids["image_token_id"],
        video_token_id=ids["video_token_id"],
    )
    return LlavaOnevisionForConditionalGeneration, config


def _qwen25(shape: ModelShape, tokenizer: PreTrainedTokenizerBase) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    vision = _qwen_vision(shape) | {
        "window_size": 112,
        "tokens_per_second": 2,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    text = _decoder(shape, 1e6, mrope_section=[16, 24, 24]) | {"max_position_embeddings": 128_000}
    ids, is_tied = _ids(tokenizer), shape.decoder.is_tied
    config = Qwen2_5_VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=is_tied, **ids)
    return Qwen2_5_VLForConditionalGeneration, config


def _qwen3(shape: ModelShape, tokenizer: PreTrainedTokenizerBase) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    vision = _qwen_vision(shape) | {"deepstack_visual_indexes": _DEEPSTACK[shape.vision.num_layers]}
    rope = {"mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text = _decoder(shape, 5e6, **rope) | {"max_position_embeddings": 262_144}
    ids, is_tied = _ids(tokenizer), shape.decoder.is_tied
    config = Qwen3VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=is_tied, **ids)
    return Qwen3VLForConditionalGeneration, config


@dataclass(frozen=True, slots=True)
class _Family:
    """describe: transformers' class of a shape, and its config. adapter: the class behind the seam."""

    describe: Callable[[ModelShape, PreTrainedTokenizerBase], tuple[type[PreTrainedModel], PretrainedConfig]]
    adapter: Callable[..., VideoLanguageModel]
    texts: PromptTexts


def _family(shape: ModelShape) -> _Family:
    return _BY_NAME[shape.name.partition("-")[0]]


_BY_NAME = {
    "llava": _Family(_llava, LlavaOnevision, llava_onevision.TEXTS),
    "qwen2.5": _Family(_qwen25, Qwen25VL, qwen2_5_vl.TEXTS),
    "qwen3": _Family(_qwen3, Qwen3VL, qwen3_vl.TEXTS),
}


def _decoder(shape: ModelShape, theta: float, **rope: object) -> dict[str, Any]:
    decoder = shape.decoder
    return {
        "hidden_size": decoder.hidden,
        "intermediate_size": decoder.intermediate,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": decoder.num_heads,
        "num_key_value_heads": decoder.num_kv_heads,
        "head_dim": decoder.head_dim,
        "vocab_size": decoder.vocabulary,
        "tie_word_embeddings": decoder.is_tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta} | rope,
    }


def _vision(vision: VisionShape) -> dict[str, Any]:
    return {
        "hidden_size": vision.hidden,
        "intermediate_size": vision.intermediate,
        "num_hidden_layers": vision.num_layers,
        "num_attention_heads": 16,
    }


def _qwen_vision(shape: ModelShape) -> dict[str, Any]:
    vision = shape.vision
    return {
        "depth": vision.num_layers,
        "hidden_size": vision.hidden,
        "intermediate_size": vision.intermediate,
        "num_heads": 16,
        "patch_size": vision.patch,
        "temporal_patch_size": vision.frames_per_group,
        "out_hidden_size": shape.decoder.hidden,
    }


def _ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {f"{token}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for token in _VISION_TOKENS}
