"""Models by name, by hub id or by local folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import TypeAdapter, ValidationError
from transformers import AutoConfig, AutoTokenizer, LlavaOnevisionForConditionalGeneration
from transformers.utils import logging as transformers_logging

from models.llava_onevision import TEXTS, LlavaOnevision, PixelScale
from models.prompts import Prompts, PromptTexts
from models.vision_language_model import ModelInvalid, ModelNotFound, VideoLanguageModel

NAMES = {
    "tiny": str(Path(__file__).parent / "tiny" / "checkpoint"),
    "llava-onevision-0.5b": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "llava-onevision-7b": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
}


@dataclass(frozen=True, slots=True)
class _Notes:
    """What hermes.json says beside a checkpoint; published ones have none."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    texts: PromptTexts = TEXTS
    reliable_positions: int | None = None


def load_model(name: str, device: str = "auto") -> VideoLanguageModel:
    """The model of that name, hub id or local folder, on `device` ("auto": a GPU where there is one).

    bfloat16 on a GPU, float32 on a CPU. Only safetensors are read and no remote code runs. Raises ModelNotFound
    and ModelInvalid.
    """
    where = NAMES.get(name, name)
    if "/" in where and not Path(where).is_dir() and Path(where).is_absolute():
        raise ModelNotFound(f"model {name!r}: no folder there")
    transformers_logging.disable_progress_bar()
    chosen = torch.device(pick_device(device))
    dtype = torch.bfloat16 if chosen.type == "cuda" else torch.float32
    try:
        family = AutoConfig.from_pretrained(where).model_type
        if family != "llava_onevision":
            raise ModelInvalid(f"model {name!r}: family {family!r} (known: llava_onevision)")
        network = LlavaOnevisionForConditionalGeneration.from_pretrained(where, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ModelInvalid(f"model {name!r}: {_first_line(error)}") from error
    notes = _notes(Path(where))
    return LlavaOnevision(
        network.to(chosen),
        Prompts(tokenizer, notes.texts),
        name=name,
        pixels=_pixels(Path(where)),
        reliable_positions=notes.reliable_positions,
    )


def pick_device(device: str) -> str:
    """ "auto" made concrete: a GPU where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _notes(folder: Path) -> _Notes:
    described = _read_json(folder / "hermes.json")
    if described is None:
        return _Notes()
    try:
        return TypeAdapter(_Notes).validate_python(described)
    except ValidationError as error:
        raise ModelInvalid(f"{folder / 'hermes.json'}: {error}") from error


def _pixels(folder: Path) -> PixelScale:
    described = _read_json(folder / "preprocessor_config.json")
    if described is None:
        return PixelScale()
    return PixelScale(tuple(described["image_mean"]), tuple(described["image_std"]))


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
