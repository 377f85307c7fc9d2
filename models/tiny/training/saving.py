"""Writes the checkpoint of a training, and the state from which an interrupted one continues."""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.tiny.network import RELIABLE_POSITIONS
from models.tiny.training.architecture import Architecture
from models.tiny.training.batches import Batch


@dataclass(slots=True)
class Progress:
    """How far a training is."""

    elapsed_share: float
    step: int = 0
    clips: int = 0
    questions: int = 0
    resumed: int = 0  # how often the run was continued

    def __str__(self) -> str:
        return f"step {self.step} {self.clips} clips {self.questions} questions"

    def add(self, batch: Batch, elapsed_share: float) -> None:
        """Counts one step."""
        self.elapsed_share = elapsed_share
        self.step += 1
        self.clips += len(batch.types)
        self.questions += sum(len(types) for types in batch.types)

    def save(self, path: Path | None, trained: Sequence[nn.Module | torch.optim.Optimizer]) -> None:
        """Replaces the file by this and the state of heads and optimizers. None: does nothing."""
        if path is None:
            return
        tensors = {
            f"{index}.{name}": tensor
            for index, item in enumerate(trained)
            for name, tensor in _tensors(item.state_dict()).items()
        }
        fresh = path.with_name(path.name + ".new")
        save_file(tensors, fresh, {"progress": json.dumps(asdict(self))})
        os.replace(fresh, path)


def load_progress(path: Path | None, trained: Sequence[nn.Module | torch.optim.Optimizer]) -> Progress | None:
    """The progress of an interrupted training, whose state is put into heads and optimizers; None without a file."""
    if path is None or not path.exists():
        return None
    with safe_open(path, "pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    for index, item in enumerate(trained):
        own = {name.removeprefix(f"{index}."): value for name, value in tensors.items() if name.startswith(f"{index}.")}
        item.load_state_dict(own if isinstance(item, nn.Module) else _optimizer_state(item, own))
    progress.resumed += 1
    return progress


def _tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a module, or of an optimizer by the number of their parameter and their name."""
    if "param_groups" not in state:
        return state
    return {f"{number}.{name}": value for number, of in state["state"].items() for name, value in of.items()}


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state[int(number)][name] = value
    return {"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]}


def save(architecture: Architecture, network: PreTrainedModel, folder: Path) -> None:
    """Writes the checkpoint with its tokenizer and hermes.json, then replaces `folder` with it."""
    fresh = folder.with_name(folder.name + ".new")
    network.save_pretrained(fresh)
    architecture.tokenizer.save_pretrained(fresh)
    (fresh / "preprocessor_config.json").write_text(json.dumps(architecture.preprocessor, indent=2) + "\n")
    described = {"texts": asdict(architecture.texts), "reliable_positions": RELIABLE_POSITIONS}
    (fresh / "hermes.json").write_text(json.dumps(described, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
