"""Measures the tiny model on scenes it has never seen: python -m models.tiny.training.evaluate --model DIR."""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from models.tiny.network import FRAME_SIDE, TOKENS_PER_FRAME
from models.tiny.scenes.questions import TYPES, Question, questions_at
from models.tiny.scenes.scene import Scene
from models.tiny.training.auxiliary_heads import AuxiliaryHeads
from models.tiny.training.batches import Batch, Layout, Packer, lay_out
from models.tiny.training.clips import Clip
from models.tiny.training.forgetting import by_chance
from models.tiny.training.labels import label_cells, label_events
from models.tiny.training.lessons import run_batch
from models.tiny.vocabulary import build_tokenizer

INTERVAL_S = 0.5
LENGTHS = (16, 32, 64)

_FIRST_SEED = 2**50  # training draws its seeds below 2**48
_CLIPS_AT_ONCE = 4


@dataclass(slots=True)
class Score:
    """Answers counted by type: right ones, all, and how often each true answer occurred."""

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    truths: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, question: Question, is_right: bool) -> None:
        self.right[question.type] += is_right
        self.asked[question.type] += 1
        self.truths[question.type][question.answer] += 1

    def accuracy(self, type_: str | None = None) -> float:
        """Share of right answers, of one type or of all; NaN when none was asked."""
        if type_ is None:
            return self.right.total() / max(1, self.asked.total())
        return self.right[type_] / self.asked[type_] if self.asked[type_] else float("nan")

    def majority(self, type_: str) -> float:
        """What always giving the commonest answer of the type would score."""
        return max(self.truths[type_].values(), default=0) / max(1, self.asked[type_])

    def as_json(self) -> dict[str, object]:
        by_type = {
            type_: {"accuracy": self.accuracy(type_), "majority": self.majority(type_), "n": asked}
            for type_, asked in self.asked.items()
        }
        return {"overall": self.accuracy(), "n": self.asked.total(), "by_type": by_type}


def unseen_clip(seed: int, frames: int) -> Clip:
    """A steady clip of a scene kept from training, its questions asked at its newest frame."""
    rng = random.Random(seed)
    scene = Scene(_FIRST_SEED + seed, mean_gap_s=rng.uniform(1.5, 6.0))
    times = [index * INTERVAL_S for index in range(frames)]
    while not (questions := questions_at(scene.visits(times[-1] + 1), times[-1], rng)):
        times = [at_s + 0.2 for at_s in times]
    pixels = np.stack([scene.frame(at_s, FRAME_SIDE, FRAME_SIDE) for at_s in times])
    asked = [(frames - 1, question) for question in questions]
    return Clip(pixels, *label_cells(scene, times), label_events(scene, times), asked, np.arange(frames))


def evaluate(
    model: LlavaOnevisionForConditionalGeneration,
    *,
    frames: int,
    clips: int,
    keep_share: float = 1.0,
    is_control: bool = False,
) -> Score:
    """Score on `clips` unseen clips. The control shows each question another clip's video.

    An answer counts when every word of it and the end are the likeliest: greedy decoding then gives it.
    """
    packer, score = Packer(build_tokenizer()), Score()
    readers = AuxiliaryHeads(model.config.text_config.hidden_size)
    for first in range(0, clips, _CLIPS_AT_ONCE):
        some = [unseen_clip(1000 * frames + index, frames) for index in range(first, first + _CLIPS_AT_ONCE)]
        layouts = [_layout(index, clip, packer, keep_share) for index, clip in enumerate(some)]
        batch = packer.pack(some, layouts)
        if is_control:
            batch = replace(batch, pixels=batch.pixels.roll(1, 0))
        with torch.no_grad():
            right = run_batch(model, readers, batch).right
        _count(score, some, batch, right)
    return score


def _layout(index: int, clip: Clip, packer: Packer, keep_share: float) -> Layout:
    frames = len(clip.pixels)
    rng = random.Random(index * 31 + frames)
    lasting = by_chance(frames, keep_share) if keep_share < 1 else None
    return lay_out(rng, frames, [frames - 1], prefix=len(packer.prefix), lasting=lasting)


def _count(score: Score, clips: Sequence[Clip], batch: Batch, right: dict[str, list[bool]]) -> None:
    left = {type_: iter(flags) for type_, flags in right.items()}
    for clip in clips:
        for _, question in clip.questions:
            score.add(question, next(left[question.type]))


def markdown(scores: dict[str, Score]) -> str:
    """Accuracies by type (rows) and condition (columns), majority guesses of the first in brackets."""
    names = list(scores)
    lines = [f"| type | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1)]
    first = scores[names[0]]
    for type_ in TYPES:
        cells = [f"{score.accuracy(type_):.3f}" for score in scores.values()]
        cells[0] += f" ({first.majority(type_):.2f})"
        lines.append(f"| {type_} | {' | '.join(cells)} |")
    lines.append(f"| **all** | {' | '.join(f'**{score.accuracy():.3f}**' for score in scores.values())} |")
    lines.append(f"| questions | {' | '.join(str(score.asked.total()) for score in scores.values())} |")
    return "\n".join(lines)


def evaluate_all(model: LlavaOnevisionForConditionalGeneration, clips: int) -> dict[str, Score]:
    """The table's columns: full cache at each length, a random 256 tokens of 128 frames, the control."""
    scores = {f"{frames} frames": evaluate(model, frames=frames, clips=clips) for frames in LENGTHS}
    few = 256 / (128 * TOKENS_PER_FRAME)
    scores["128 frames, random 256 tokens"] = evaluate(model, frames=128, clips=clips // 2, keep_share=few)
    scores["control"] = evaluate(model, frames=LENGTHS[0], clips=clips, is_control=True)
    return scores


def main() -> None:
    """Reads the command line, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=120, help="of each length")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(options.model).eval()
    scores = evaluate_all(model, options.clips)
    print(markdown(scores))
    if options.json:
        figures = {name: score.as_json() for name, score in scores.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
