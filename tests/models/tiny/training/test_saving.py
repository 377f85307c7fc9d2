"""An interrupted training continues where it was, and its checkpoint is whole."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.tiny.training.architecture import Architecture
from models.tiny.training.architectures import ARCHITECTURES, architecture_of
from models.tiny.training.auxiliary_heads import AuxiliaryHeads
from models.tiny.training.batches import Batch, Packer
from models.tiny.training.curriculum import make_batch
from models.tiny.training.losses import run_batch
from models.tiny.training.saving import Progress, load_progress, save
from models.tiny.training.train import make_optimizers


class Training:
    """The parts of a training of which each step is the same."""

    def __init__(self, architecture: Architecture, network: nn.Module) -> None:
        self.architecture = architecture
        self.network = network
        torch.manual_seed(3)
        self.heads = AuxiliaryHeads(128, architecture.frames_per_group, architecture.grids)
        self.optimizers = make_optimizers(network, self.heads)
        self.trained = [self.heads, *self.optimizers]

    def step(self, batch: Batch) -> None:
        torch.autograd.backward(run_batch(self.architecture, self.network, self.heads, batch).loss)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_run_that_continues_from_its_state_takes_the_steps_of_one_that_was_not_interrupted(
    name: str, tmp_path: Path
) -> None:
    architecture = ARCHITECTURES[name]
    stage = replace(architecture.stages[1], clips=2)
    batch = make_batch(random.Random(1), stage, Packer(architecture))
    first, state = Training(architecture, architecture.build(1)), tmp_path / "state.safetensors"
    progress = Progress(elapsed_share=0.0)
    first.step(batch)
    progress.add(batch, 0.25)
    save(architecture, first.network, tmp_path / "checkpoint")
    progress.save(state, first.trained)

    second = Training(architecture, architecture.load(tmp_path / "checkpoint"))
    continued = load_progress(state, second.trained)
    first.step(batch)
    second.step(batch)

    assert continued == replace(progress, resumed=1)
    assert continued.step == 1
    assert continued.elapsed_share == 0.25
    for before, after in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(before, after)


def test_without_a_state_there_is_no_progress(tmp_path: Path) -> None:
    assert load_progress(None, []) is None
    assert load_progress(tmp_path / "state.safetensors", []) is None


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_checkpoint_says_what_it_is_and_how_frames_are_prepared(name: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]

    save(architecture, architecture.build(1), tmp_path / "checkpoint")

    assert architecture_of(tmp_path / "checkpoint") is architecture
    described = json.loads((tmp_path / "checkpoint" / "hermes.json").read_text())
    assert described["texts"]["prefix"] == architecture.texts.prefix
    pixels = json.loads((tmp_path / "checkpoint" / "preprocessor_config.json").read_text())
    assert pixels == architecture.preprocessor
