"""Models where only PyTorch and transformers are installed: the shipped tiny ones, and shapes with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen3VLForConditionalGeneration,
)

import models.tiny
from benchmarks import random_checkpoints
from models.llava_onevision import LlavaOnevision
from models.processor_config import PixelScale
from models.prompts import Prompts, PromptTexts
from models.qwen3_vl import Qwen3VL
from models.tiny import network
from models.vision_language_model import VideoLanguageModel

_FOLDER = Path(models.tiny.__file__).parent
_CELLS = (16, 16)
_PIXELS = PixelScale((network.PIXEL_MEAN,) * 3, (network.PIXEL_STD,) * 3)
TINY, TINY_QWEN = "tiny", "tiny-qwen3-vl"


def load(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> VideoLanguageModel:
    """A tiny model, or a published shape with random weights in bfloat16. dtype: of a tiny model."""
    if name not in (TINY, TINY_QWEN):
        return random_checkpoints.model_of(name, device)
    folder, network_class = _SHIPPED[name]
    weights = network_class.from_pretrained(folder, dtype=dtype).to(device)
    texts = _texts(json.loads((folder / "hermes.json").read_text())["texts"])
    prompts, reliable = Prompts(AutoTokenizer.from_pretrained(folder), texts), network.RELIABLE_POSITIONS
    if name == TINY:
        return LlavaOnevision(weights, prompts, name=name, pixels=_PIXELS, reliable_positions=reliable)
    return Qwen3VL(weights, prompts, name=name, pixels=_PIXELS, reliable_positions=reliable, cells=_CELLS)


_SHIPPED: dict[str, tuple[Path, type[PreTrainedModel]]] = {
    TINY: (_FOLDER / "checkpoint", LlavaOnevisionForConditionalGeneration),
    TINY_QWEN: (_FOLDER / "qwen3_vl_checkpoint", Qwen3VLForConditionalGeneration),
}


def _texts(texts: dict[str, Any]) -> PromptTexts:
    as_tuples: dict[str, Any] = {name: tuple(text) if isinstance(text, list) else text for name, text in texts.items()}
    return PromptTexts(**as_tuples)
