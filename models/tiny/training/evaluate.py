"""Measures the tiny model on scenes that training never draws: python -m models.tiny.training.evaluate --model DIR."""

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


def unseen_clip(seed: int, frames: int) -> Clip:
    """A clip at a steady rate of a scene that training never draws, with questions at its newest frame."""
    rng = random.Random(seed)
    scene = Scene(_FIRST_SEED + seed, mean_gap_s=rng.uniform(1.5, 6.0))
    times = [index * INTERVAL_S for index in range(frames)]
    while not (questions := questions_at(scene.visits(times[-1] + 1), times[-1], rng)):
        times = [at_s + 0.2 for at_s in times]
    pixels = np.stack([scene.frame(at_s, FRAME_SIDE, FRAME_SIDE) for at_s in times])
    at_newest = [(frames - 1, question) for question in questions]
    return Clip(pixels, *label_cells(scene, times), label_events(scene, times), at_newest, np.arange(frames))


def evaluate(
    model: LlavaOnevisionForConditionalGeneration,
    *,
    frames: int,
    clips: int,
    keep_share: float = 1.0,
    is_control: bool = False,
) -> Score:
    """Score on `clips` unseen clips. The control pairs each question with another clip's video.

    An answer is right when each of its tokens and the end token are the most likely, so that greedy decoding gives it.
    """
    packer, score = Packer(build_tokenizer()), Score()
    heads = AuxiliaryHeads(model.config.text_config.hidden_size)
    for first in range(0, clips, _CLIPS_AT_ONCE):
        some = [unseen_clip(1000 * frames + index, frames) for index in range(first, first + _CLIPS_AT_ONCE)]
        layouts = [_layout(index, clip, packer, keep_share) for index, clip in enumerate(some)]
        batch = packer.pack(some, layouts)
        if is_control:
            batch = replace(batch, pixels=batch.pixels.roll(1, 0))
        with torch.no_grad():
            right = run_batch(model, heads, batch).right
        _count(score, some, batch, right)
    return score


def _layout(index: int, clip: Clip, packer: Packer, keep_share: float) -> Layout:
    frames = len(clip.pixels)
    rng = random.Random(index * 31 + frames)
    lasting = by_chance(frames, keep_share) if keep_share < 1 else None
    return lay_out(rng, frames, [frames - 1], prefix=len(packer.prefix), lasting=lasting)


def _count(score: Score, clips: Sequence[Clip], batch: Batch, right: dict[str, list[bool]]) -> None:
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


def evaluate_all(model: LlavaOnevisionForConditionalGeneration, clips: int) -> dict[str, Score]:
    """The scores of the table: the full cache at each length, 256 random tokens of 128 frames, and the control."""
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
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(options.model).eval()
    scores = evaluate_all(model, options.clips)
    print(markdown(scores))
    if options.json:
        figures = {name: score.as_json() for name, score in scores.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
