"""The table of architectures that can be trained, by the model_type of their checkpoints."""

import json
from pathlib import Path

from models.tiny.training.architecture import Architecture
from models.tiny.training.llava_onevision import LlavaOnevisionArchitecture
from models.tiny.training.qwen3_vl import Qwen3VLArchitecture

ARCHITECTURES: dict[str, Architecture] = {
    "llava_onevision": LlavaOnevisionArchitecture(),
    "qwen3_vl": Qwen3VLArchitecture(),
}


def architecture_of(checkpoint: Path) -> Architecture:
    """The architecture of a checkpoint of a tiny model. Raises KeyError for any other one."""
    return ARCHITECTURES[json.loads((checkpoint / "config.json").read_text())["model_type"]]
