"""Loads models by name, hub id or local folder. `FAMILIES` is the table that a new family is added to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Cosmos3OmniForConditionalGeneration,
    LlavaOnevisionForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from models import (
    catalogue,
    compatibility,
    generation_config,
    hub,
    llava_onevision,
    network_weights,
    patches,
    qwen2_5_vl,
    qwen3_5,
    qwen3_vl,
)
from models.checkpoint_files import CheckpointFiles
from models.errors import ModelInvalid
from models.llava_onevision import LlavaOnevision
from models.prompts import Prompts, PromptTexts
from models.qwen2_5_vl import Qwen25VL
from models.qwen3_5 import Qwen35
from models.qwen3_vl import Qwen3VL
from models.vision_language_model import VideoLanguageModel
from models.weight_format import WeightFormat


@dataclass(frozen=True, slots=True)
class Family:
    """How checkpoints of one `model_type` are loaded.

    network: the transformers class; adapter: the class behind the seam, called with the network, its prompts and
    `name`, `generation`, `reliable_positions` and what `frame_options` returns; frame_options: how the checkpoint's
    files say that frames are prepared; texts: those of a checkpoint without a hermes.json; layer_kinds: of the decoder,
    by their names in its config.
    """

    network: type[PreTrainedModel]
    adapter: Callable[..., VideoLanguageModel]
    frame_options: Callable[[CheckpointFiles, PretrainedConfig], dict[str, object]]
    texts: PromptTexts
    layer_kinds: frozenset[str] = frozenset({"full_attention"})


FAMILIES = {
    "cosmos3_omni": Family(Cosmos3OmniForConditionalGeneration, Qwen3VL, patches.frame_options, qwen3_vl.TEXTS),
    "llava_onevision": Family(
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevision,
        llava_onevision.frame_options,
        llava_onevision.TEXTS,
    ),
    "qwen2_5_vl": Family(Qwen2_5_VLForConditionalGeneration, Qwen25VL, patches.frame_options, qwen2_5_vl.TEXTS),
    "qwen3_5": Family(
        Qwen3_5ForConditionalGeneration,
        Qwen35,
        patches.frame_options,
        qwen3_5.TEXTS,
        frozenset({"full_attention", "linear_attention"}),
    ),
    "qwen3_vl": Family(Qwen3VLForConditionalGeneration, Qwen3VL, patches.frame_options, qwen3_vl.TEXTS),
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


def load_model(
    name: str, device: str = "auto", weights: WeightFormat = WeightFormat.AUTO, *, num_gpus: int = 1
) -> VideoLanguageModel:
    """The model of that name, hub id or local folder, on `device` ("auto": a GPU if there is one).

    A name or a hub id may name the revision that it is pinned to: `OWNER/NAME@REVISION`. num_gpus: over which the
    layers are split in order. Reads safetensors only and runs no remote code. What does not fit is refused before
    anything is on the device. Raises ModelNotFound and ModelInvalid. Blocks while the weights load or download.
    """
    devices = _devices(pick_device(device), num_gpus)
    location = catalogue.located(name)
    files = CheckpointFiles(hub.folder_of(name, location.where, location.revision))
    transformers_logging.disable_progress_bar()
    family = _family(name, files)
    network_weights.weight_files(files)
    with _translated(name):
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(files.folder, trust_remote_code=False)
        described = _hermes_json(files, config.text_config.max_position_embeddings)
        prompts = Prompts(tokenizer, described.texts or family.texts)
        compatibility.require_fit(name, config, family.layer_kinds)
        compatibility.require_tokenizer(name, config, tokenizer, prompts)
        frame_options = family.frame_options(files, config)
        generation = generation_config.read(files, tokenizer.eos_token_id, config.text_config.vocab_size)
        network = network_weights.load(family.network, files, config, weights, devices)
        return family.adapter(
            network,
            prompts,
            name=name,
            generation=generation,
            reliable_positions=described.reliable_positions,
            **frame_options,
        )


def pick_device(device: str) -> str:
    """The device itself, or for "auto" a GPU if there is one, else the CPU."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _devices(device: str, num_gpus: int) -> list[torch.device]:
    if num_gpus == 1 or torch.device(device).type != "cuda":
        return [torch.device(device)]
    if (found := torch.cuda.device_count()) < num_gpus:
        raise ModelInvalid(f"the model's layers are for {num_gpus} GPUs (shards.num_gpus), and {found} are there")
    return [torch.device("cuda", index) for index in range(num_gpus)]


def _family(name: str, files: CheckpointFiles) -> Family:
    config = files.read("config.json")
    if config is None:
        raise ModelInvalid(f"model {name!r}: {files.folder} has no config.json")
    model_type = config.content.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelInvalid(f"model {name!r}: family {model_type!r} (supported: {', '.join(FAMILIES)})")
    return FAMILIES[model_type]


def _hermes_json(files: CheckpointFiles, num_positions: int) -> _HermesJson:
    file = files.read("hermes.json")
    if file is None:
        return _HermesJson()
    described = dict(file.content)
    texts = described.get("texts")
    if isinstance(texts, dict) and "unwitnessed" in texts:  # the first version's name of the key
        described["texts"] = {key: value for key, value in texts.items() if key != "unwitnessed"}
        described["texts"]["no_evidence_for"] = texts["unwitnessed"]
    try:
        read = TypeAdapter(_HermesJson).validate_python(described)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise ModelInvalid(f"{file.name}: {'; '.join(problems)}") from error
    if (read.reliable_positions or 0) > num_positions:
        raise file.refuse("reliable_positions", f"the positions of the decoder end at {num_positions:,}")
    return read


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    """Errors of transformers, and of files that are not what their names say, as ModelInvalid.

    The numbers of a config can be any, and transformers computes with them: a zero divides, a text is added.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise ModelInvalid(f"model {name!r}: {_reason(error)}") from error
    except (LookupError, ArithmeticError, AttributeError, TypeError) as error:
        raise ModelInvalid(f"model {name!r}: {type(error).__name__}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of a message, and the next one where the first only announces it."""
    first, *rest = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return f"{first} {rest[0]}" if first.endswith(":") and rest else first
