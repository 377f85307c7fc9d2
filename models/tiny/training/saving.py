"""Writes the checkpoint of a training, and the state from which an interrupted one continues."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
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
        fresh = path.with_name(path.name + ".new")
        torch.save({"progress": asdict(self), "states": [item.state_dict() for item in trained]}, fresh)
        os.replace(fresh, path)


def load_progress(path: Path | None, trained: Sequence[nn.Module | torch.optim.Optimizer]) -> Progress | None:
    """The progress of an interrupted training, whose state is put into heads and optimizers; None without a file."""
    if path is None or not path.exists():
        return None
    saved = torch.load(path, weights_only=True)
    for item, state in zip(trained, saved["states"], strict=True):
        item.load_state_dict(state)
    progress = Progress(**saved["progress"])
    progress.resumed += 1
    return progress


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
