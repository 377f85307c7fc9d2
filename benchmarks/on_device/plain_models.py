"""Models where only PyTorch and transformers are installed: the shipped tiny one, and shapes with random weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

import models.tiny
from benchmarks import random_checkpoints
from models.llava_onevision import LlavaOnevision
from models.processor_config import PixelScale
from models.prompts import Prompts, PromptTexts
from models.qwen3_vl import Qwen3VL
from models.tiny import network, vocabulary
from models.tiny.qwen3_vl_network import build_qwen3_vl
from models.vision_language_model import VideoLanguageModel

_CHECKPOINT = Path(models.tiny.__file__).parent / "checkpoint"
_TINY_CELLS = (1, 16)
TINY, TINY_QWEN = "tiny", "tiny-qwen3-vl"


def load(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> VideoLanguageModel:
    """A tiny model, or a published shape with random weights in bfloat16. dtype: of the tiny model."""
    if name == TINY:
        return _shipped(device, dtype)
    if name == TINY_QWEN:
        tokenizer = vocabulary.build_qwen_tokenizer()
        texts = dataclasses.replace(
            _texts(), prefix=vocabulary.QWEN_PREFIX_TEXT, question=vocabulary.QWEN_QUESTION_TEXT
        )
        weights = build_qwen3_vl(tokenizer, seed=0).to(device, dtype)
        return Qwen3VL(weights, Prompts(tokenizer, texts), name=name, cells=_TINY_CELLS)
    return random_checkpoints.model_of(name, device)


def _shipped(device: torch.device, dtype: torch.dtype) -> LlavaOnevision:
    weights = LlavaOnevisionForConditionalGeneration.from_pretrained(_CHECKPOINT, dtype=dtype).to(device)
    pixels = PixelScale((network.PIXEL_MEAN,) * 3, (network.PIXEL_STD,) * 3)
    prompts = Prompts(AutoTokenizer.from_pretrained(_CHECKPOINT), _texts())
    return LlavaOnevision(weights, prompts, name=TINY, pixels=pixels, reliable_positions=network.RELIABLE_POSITIONS)


def _texts() -> PromptTexts:
    texts: dict[str, Any] = json.loads((_CHECKPOINT / "hermes.json").read_text())["texts"]
    as_tuples: dict[str, Any] = {name: tuple(text) if isinstance(text, list) else text for name, text in texts.items()}
    return PromptTexts(**as_tuples)
