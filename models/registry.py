"""Models by name, hub id or local folder. `FAMILIES` is the table that a new family is added to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import TypeAdapter, ValidationError
from transformers import AutoConfig, AutoTokenizer, LlavaOnevisionForConditionalGeneration, PreTrainedModel
from transformers.utils import logging as transformers_logging

from models import generation_config, llava_onevision, processor_config
from models.checkpoint_files import CheckpointFiles
from models.errors import ModelInvalid, ModelNotFound
from models.llava_onevision import LlavaOnevision
from models.prompts import Prompts, PromptTexts
from models.vision_language_model import VideoLanguageModel

CHECKPOINTS = {
    "tiny": str(Path(__file__).parent / "tiny" / "checkpoint"),
    "llava-onevision-0.5b": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "llava-onevision-7b": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
}
# A checkpoint that is not listed was trained on real footage.
_KNOWS_ONLY = {CHECKPOINTS["tiny"]: "drawn streets"}


@dataclass(frozen=True, slots=True)
class Family:
    """How checkpoints of one `model_type` are loaded.

    network: the transformers class; adapter: the class behind the seam, called with the network, its prompts and
    `name`, `pixels`, `generation`, `reliable_positions`; texts: those of a checkpoint without a hermes.json.
    """

    network: type[PreTrainedModel]
    adapter: Callable[..., VideoLanguageModel]
    texts: PromptTexts


FAMILIES = {
    "llava_onevision": Family(LlavaOnevisionForConditionalGeneration, LlavaOnevision, llava_onevision.TEXTS),
}


@dataclass(frozen=True, slots=True)
class _HermesJson:
    """The content of hermes.json beside a checkpoint; a published checkpoint has no such file."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    texts: PromptTexts | None = None
    reliable_positions: int | None = None

    def __post_init__(self) -> None:
        if self.reliable_positions is not None and self.reliable_positions <= 0:
            raise ValueError(f"reliable_positions is {self.reliable_positions} (at least 1)")


def load_model(name: str, device: str = "auto", dtype: torch.dtype | None = None) -> VideoLanguageModel:
    """The model of that name, hub id or local folder, on `device` ("auto": a GPU if there is one).

    bfloat16 on a GPU, float32 on a CPU, unless `dtype` is given. Reads safetensors only and runs no remote code. Raises
    ModelNotFound and ModelInvalid. Blocks while the weights load or download.
    """
    where = CHECKPOINTS.get(name, name)
    if Path(where).is_absolute() and not Path(where).is_dir():
        raise ModelNotFound(f"model {name!r}: no such folder")
    transformers_logging.disable_progress_bar()
    chosen = torch.device(pick_device(device))
    dtype = dtype or (torch.bfloat16 if chosen.type == "cuda" else torch.float32)
    with _translated(name, where):
        config = AutoConfig.from_pretrained(where)
        family = _family(name, config.model_type)
        tokenizer = AutoTokenizer.from_pretrained(where)
    files = CheckpointFiles(where)
    described = _hermes_json(files)
    prompts = Prompts(tokenizer, described.texts or family.texts)
    pixels = processor_config.pixel_scale(files, config.vision_config.image_size)
    generation = generation_config.read(files, tokenizer.eos_token_id)
    with _translated(name, where):
        network = family.network.from_pretrained(where, dtype=dtype, use_safetensors=True)
    return family.adapter(
        network.to(chosen),
        prompts,
        name=name,
        pixels=pixels,
        generation=generation,
        reliable_positions=described.reliable_positions,
    )


def limitation(name: str) -> str | None:
    """Why the model of that name, hub id or local folder is not for real cameras; None if it is."""
    domain = _KNOWS_ONLY.get(CHECKPOINTS.get(name, name))
    return (
        domain and f"model {name!r} knows {domain} only: about real footage its answers mean nothing (docs/models.md)"
    )


def pick_device(device: str) -> str:
    """The device itself, or for "auto" a GPU if there is one, else the CPU."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _family(name: str, model_type: str) -> Family:
    if model_type not in FAMILIES:
        raise ModelInvalid(f"model {name!r}: family {model_type!r} (supported: {', '.join(FAMILIES)})")
    return FAMILIES[model_type]


def _hermes_json(files: CheckpointFiles) -> _HermesJson:
    file = files.read("hermes.json")
    if file is None:
        return _HermesJson()
    described = dict(file.content)
    texts = described.get("texts")
    if isinstance(texts, dict) and "unwitnessed" in texts:  # the first version's name of the key
        described["texts"] = {key: value for key, value in texts.items() if key != "unwitnessed"}
        described["texts"]["no_evidence_for"] = texts["unwitnessed"]
    try:
        return TypeAdapter(_HermesJson).validate_python(described)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise ModelInvalid(f"{file.name}: {'; '.join(problems)}") from error


@contextlib.contextmanager
def _translated(name: str, where: str) -> Iterator[None]:
    """Errors of transformers as ModelInvalid."""
    try:
        yield
    except (OSError, ValueError) as error:
        is_missing = isinstance(error, OSError) and not Path(where).is_dir()
        hint = (
            "; a machine without internet needs a folder with the model's files (docs/models.md)" if is_missing else ""
        )
        raise ModelInvalid(f"model {name!r}: {str(error).strip().splitlines()[0].rstrip('.')}{hint}") from error
