"""Measures a tiny model on scenes that training never draws: python -m models.tiny.training.evaluate --model DIR."""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from models.tiny.network import TOKENS_PER_FRAME
from models.tiny.scenes.questions import TYPES, Question, questions_at
from models.tiny.scenes.scene import Scene
from models.tiny.training.architecture import Architecture, Grid
from models.tiny.training.architectures import architecture_of
from models.tiny.training.auxiliary_heads import AuxiliaryHeads
from models.tiny.training.batches import Packer
from models.tiny.training.clips import Clip, draw, labelled
from models.tiny.training.forgetting import by_chance
from models.tiny.training.labels import SQUARE
from models.tiny.training.layouts import Layout, lay_out
from models.tiny.training.losses import run_batch

_INTERVAL_S = 0.5
LENGTHS = (16, 32, 64)

_FIRST_SEED = 2**50  # training draws its seeds below 2**48
_CLIPS_AT_ONCE = 4


@dataclass(slots=True)
class Score:
    """Counts of answers by type. right: right ones; total: all; truths: how often each true answer occurred."""

    right: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    truths: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, question: Question, is_right: bool) -> None:
        self.right[question.type] += is_right
        self.total[question.type] += 1
        self.truths[question.type][question.answer] += 1

    def accuracy(self, type_: str | None = None) -> float:
        """Share of right answers, of one type or of all; NaN for a type without questions."""
        if type_ is None:
            return self.right.total() / max(1, self.total.total())
        return self.right[type_] / self.total[type_] if self.total[type_] else float("nan")

    def majority(self, type_: str) -> float:
        """The accuracy of always giving the most frequent answer of the type."""
        return max(self.truths[type_].values(), default=0) / max(1, self.total[type_])

    def as_json(self) -> dict[str, object]:
        by_type = {
            type_: {"accuracy": self.accuracy(type_), "majority": self.majority(type_), "n": total}
            for type_, total in self.total.items()
        }
        return {"overall": self.accuracy(), "n": self.total.total(), "by_type": by_type}


def _unseen_clip(seed: int, frames: int, grid: Grid = SQUARE, frames_per_group: int = 1) -> Clip:
    """A clip at a steady rate of a scene that training never draws, with questions at its newest frame."""
    rng = random.Random(seed)
    scene = Scene(_FIRST_SEED + seed, mean_gap_s=rng.uniform(1.5, 6.0))
    times = [index * _INTERVAL_S for index in range(frames)]
    while not (questions := questions_at(scene.visits(times[-1] + 1), times[-1], rng)):
        times = [at_s + 0.2 for at_s in times]
    groups = np.arange(frames).reshape(-1, frames_per_group)
    at_newest = [(len(groups) - 1, question) for question in questions]
    return labelled(scene, times, draw(scene, times, grid), groups, at_newest, grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is measured: clips of so many frames, how much of them is cached, and of which grid they are.

    is_control: each question is asked about another clip's video.
    """

    frames: int
    clips: int
    keep_share: float = 1.0
    is_control: bool = False
    grid: Grid = SQUARE


@torch.no_grad()
def evaluate(architecture: Architecture, network: PreTrainedModel, condition: Condition) -> Score:
    """Score on unseen clips.

    An answer is right when each of its tokens and the end token are the most likely, so that greedy decoding gives it.
    """
    packer, score, frames = Packer(architecture), Score(), condition.frames
    heads = AuxiliaryHeads(
        network.config.get_text_config().hidden_size, architecture.frames_per_group, architecture.grids
    )
    for first in range(0, condition.clips, _CLIPS_AT_ONCE):
        seeds = [1000 * frames + index for index in range(first, first + _CLIPS_AT_ONCE)]
        some = [_unseen_clip(seed, frames, condition.grid, architecture.frames_per_group) for seed in seeds]
        layouts = [_layout(first + index, clip, packer, condition.keep_share) for index, clip in enumerate(some)]
        batch = packer.pack(some, layouts)
        if condition.is_control:
            batch = replace(batch, pixels=batch.pixels.roll(1, 0))
        _count(score, some, run_batch(architecture, network, heads, batch).right)
    return score


def _layout(index: int, clip: Clip, packer: Packer, keep_share: float) -> Layout:
    rng = random.Random(index * 31 + len(clip.pixels))
    lasting = by_chance(clip.events[..., 0].size, keep_share) if keep_share < 1 else None
    return lay_out(
        rng,
        packer.architecture.context(clip),
        [len(clip.groups) - 1],
        prefix=len(packer.prefix),
        frames_per_group=packer.architecture.frames_per_group,
        gaps=packer.architecture.position_gaps,
        lasting=lasting,
    )


def _count(score: Score, clips: Sequence[Clip], right: dict[str, list[bool]]) -> None:
    remaining = {type_: iter(flags) for type_, flags in right.items()}
    for clip in clips:
        for _, question in clip.questions:
            score.add(question, next(remaining[question.type]))


def markdown(scores: dict[str, Score]) -> str:
    """Accuracy by type (rows) and condition (columns); the majority guess of the first condition in brackets."""
    names = list(scores)
    lines = [f"| type | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1)]
    first = scores[names[0]]
    for type_ in TYPES:
        cells = [f"{score.accuracy(type_):.3f}" for score in scores.values()]
        cells[0] += f" ({first.majority(type_):.2f})"
        lines.append(f"| {type_} | {' | '.join(cells)} |")
    lines.append(f"| **all** | {' | '.join(f'**{score.accuracy():.3f}**' for score in scores.values())} |")
    lines.append(f"| questions | {' | '.join(str(score.total.total()) for score in scores.values())} |")
    return "\n".join(lines)


def _evaluate_all(architecture: Architecture, network: PreTrainedModel, clips: int) -> dict[str, Score]:
    """The scores of the table: the full cache at each length and other grid, few random tokens, and the control."""
    conditions = {f"{frames} frames": Condition(frames=frames, clips=clips) for frames in LENGTHS}
    for grid in architecture.grids[1:]:
        conditions[f"32 frames, {grid[0]} x {grid[1]}"] = Condition(frames=32, clips=clips, grid=grid)
    few = 256 / (128 // architecture.frames_per_group * TOKENS_PER_FRAME)
    conditions["128 frames, random 256 tokens"] = Condition(frames=128, clips=clips // 2, keep_share=few)
    conditions["control"] = Condition(frames=LENGTHS[0], clips=clips, is_control=True)
    return {name: evaluate(architecture, network, condition) for name, condition in conditions.items()}


def main() -> None:
    """Reads the command line, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=120, help="of each length")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    architecture = architecture_of(options.model)
    scores = _evaluate_all(architecture, architecture.load(options.model).eval(), options.clips)
    print(markdown(scores))
    if options.json:
        figures = {name: score.as_json() for name, score in scores.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
