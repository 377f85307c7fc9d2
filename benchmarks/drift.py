"""How long a memory keeps a fact of the start of a long stream: python -m benchmarks.drift --help.

Recall: the share of right answers about the first visitor of a stream, to three questions at growing distances. Cosine:
similarity of the mean of a memory's summaries, weighted by their counts, to the true mean of the values that they stand
for, in the deepest layer. A policy without summaries has no cosine.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot
from torch import Tensor

from benchmarks import accuracy, contenders, parts, result_file, streams
from benchmarks.contenders import OURS
from benchmarks.exam import Examiner
from benchmarks.stream_memories import BoundedMemory, Task
from benchmarks.streams import FRAMES_PER_S, FRAMES_PER_STEP, Character, Footage, Need, TimedQuestion
from cache_store.memory import Memory
from models.tiny.scenes import questions
from models.tiny.scenes.questions import Question
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel

DISTANCES = (64, 256, 1_024, 4_096, 10_000, 20_000)
POLICIES = (OURS, "hermes", "hermes-published", "window")


@dataclass(frozen=True, slots=True)
class Row:
    """At a distance in frames: share of right answers about the first visitor, and the mean cosine over streams."""

    policy: str
    budget: int
    frames: int
    recall: float
    n: int
    cosine: float | None
    commit: str


def main() -> None:
    """Measures, prints a table, and writes JSON and a plot on request."""
    options = _options()
    torch.set_num_threads(options.threads)
    model = accuracy.load(options.model)
    scenes = [_scene(options.seed, index, options.frames) for index in range(options.streams)]
    footages = [streams.film(model, scene, options.frames) for scene in scenes]
    rows: list[Row] = []
    for policy in options.policies:
        rows += measure(model, policy, options.budget, scenes, footages)
        print(table(rows[-len(DISTANCES) :]), flush=True)
    if options.plot:
        plot(rows, options.plot)
    result_file.write(options.json, {}, rows=rows)


def measure(
    model: VideoLanguageModel, policy: str, budget: int, scenes: Sequence[Scene], footages: Sequence[Footage]
) -> Iterator[Row]:
    """A row for each distance."""
    contender = contenders.named(policy).make(Task(model, len(footages), budget, footages[0].num_frames))
    assert isinstance(contender, BoundedMemory)
    examiner = Examiner(model)
    means = [_TrueMean() for _ in footages]
    per_step = model.spec.layout.max_tokens(FRAMES_PER_STEP)

    def add_step(memory: Memory) -> None:
        means[contender.memories.index(memory)].add(memory, per_step)

    contender.writer.before_compaction = add_step
    for newest, encoded, times_s in streams.steps(footages):
        contender.append(encoded, times_s)
        if (num_frames := newest + 1) in DISTANCES:
            yield _row(policy, budget, num_frames, examiner, contender.memories, scenes, means)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| policy | tokens a layer | frames | recall | n | cosine |", "|---|" + "---:|" * 5]
    lines += [
        f"| {row.policy} | {row.budget} | {row.frames:,} | {row.recall:.3f} | {row.n} "
        f"| {'-' if row.cosine is None else f'{row.cosine:.3f}'} |"
        for row in rows
    ]
    return "\n".join(lines)


def plot(rows: Sequence[Row], file: Path) -> None:
    """Recall above, cosine below, against the distance."""
    mpl.use("Agg")
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
    for policy in dict.fromkeys(row.policy for row in rows):
        some = [row for row in rows if row.policy == policy]
        frames = [row.frames for row in some]
        above.plot(frames, [row.recall for row in some], marker="o", label=policy)
        if all(row.cosine is not None for row in some[1:]):
            below.plot(frames, [row.cosine if row.cosine is not None else math.nan for row in some], marker="o")
        else:
            below.plot([], [])  # keeps the colours of both halves alike
    above.set_ylabel("the first visitor is known")
    below.set_ylabel("cosine of summary to true mean")
    below.set_xlabel("frames")
    below.set_xscale("log", base=2)
    above.legend(fontsize=8)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


class _TrueMean:
    """The sum of all values that the deepest layer ever had, for comparison with its summaries."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0

    def add(self, memory: Memory, num_new: int) -> None:
        """Adds the newest tokens of a step. Call it before the compaction of that step."""
        tokens = memory.after_prefix(memory.num_layers - 1)
        self._sum = self._sum + tokens.values[:, -num_new:].double().sum(dim=1)
        self._count += num_new

    def cosine(self, memory: Memory) -> float | None:
        """Similarity of the mean of the summaries to the mean of what they stand for; None without summaries."""
        tokens = memory.after_prefix(memory.num_layers - 1)
        is_summary = tokens.token_ids < 0
        if not bool(is_summary.any()):
            return None
        values, counts = tokens.values.double(), tokens.counts.double()
        expected = (self._sum - values[:, ~is_summary].sum(dim=1)) / (self._count - int((~is_summary).sum()))
        summarised = (values[:, is_summary] * counts[is_summary, None]).sum(dim=1) / counts[is_summary].sum()
        return float(torch.nn.functional.cosine_similarity(summarised.flatten(), expected.flatten(), dim=0))


def _row(
    policy: str,
    budget: int,
    num_frames: int,
    examiner: Examiner,
    memories: Sequence[Memory],
    scenes: Sequence[Scene],
    means: Sequence[_TrueMean],
) -> Row:
    outcomes = [
        outcome
        for memory, scene in zip(memories, scenes, strict=True)
        for outcome in examiner.ask(memory, _first_visitor_questions(scene, num_frames))
    ]
    cosines = [
        cosine for mean, memory in zip(means, memories, strict=True) if (cosine := mean.cosine(memory)) is not None
    ]
    return Row(
        policy=policy,
        budget=budget,
        frames=num_frames,
        recall=round(sum(outcome.is_right for outcome in outcomes) / len(outcomes), 4),
        n=len(outcomes),
        cosine=round(sum(cosines) / len(cosines), 4) if cosines else None,
        commit=parts.current_commit(),
    )


def _first_visitor_questions(scene: Scene, num_frames: int) -> list[TimedQuestion]:
    now_s = (num_frames - 1) / FRAMES_PER_S
    visits = scene.visits(now_s)
    texts = ["what came first", f"has a {visits[0].name} appeared"]
    if sum(visit.kind == visits[0].kind for visit in visits) == 1:
        texts.append(f"what colour was the last {visits[0].kind}")
    answers = [(text, questions.answer_at(text, visits, now_s)) for text in texts]
    return [
        TimedQuestion(Question("first", text, answer), now_s, Need.PAST, None)
        for text, answer in answers
        if answer is not None
    ]


def _scene(seed: int, index: int, num_frames: int) -> Scene:
    """A random scene whose first visitor leaves within 56 frames."""
    rng = random.Random(f"{seed} {index}")
    while True:
        scene = streams.make_scene(rng.randrange(2**20), Character.STEADY, num_frames)
        visits = scene.visits(28.0)
        if visits and visits[0].leave_s < 28.0:
            return scene


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="one that knows the words of the scenes")
    parser.add_argument("--seed", type=int, default=1, help="of the scenes")
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--frames", type=int, default=DISTANCES[-1], help="of each stream")
    parser.add_argument("--budget", type=int, default=256, help="tokens a layer")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), metavar="NAME")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    result_file.add_option(parser)
    parser.add_argument("--plot", type=Path, help="write the plot into this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
