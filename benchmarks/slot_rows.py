"""What slots of int8 rows cost in accuracy, question by question: python -m benchmarks.slot_rows --help.

The same streams of benchmarks.accuracy are appended to exact slots and to slots of int8 rows, each compacted by the
policy's scores over its own rows, and both are asked the same questions. Finished parts are saved as in
benchmarks.accuracy.
"""

from __future__ import annotations

import argparse
import itertools
import operator
import statistics
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import accuracy, contenders, result_file, rows
from benchmarks.contenders import OURS
from benchmarks.parts import MIXED, Part
from benchmarks.streams import VISITS

BUDGETS = (48, 256)


@dataclass(frozen=True, slots=True)
class Row:
    """A policy at a budget. lost_points: accuracy of int8 slots below that of exact ones; low, high: 95 % interval.

    changed_answers: right with one kind and wrong with the other. nbytes: of a camera, of each kind.
    """

    model: str
    policy: str
    budget: int
    frames: int
    streams: int
    n: int
    exact: float
    int8: float
    lost_points: float
    low: float
    high: float
    changed_answers: int
    exact_nbytes: int
    int8_nbytes: int
    commit: str


def main() -> None:
    """Measures the missing parts, prints a table, and writes JSON on request."""
    options = _options()
    torch.set_num_threads(1)
    results = [row for policy in options.policies for row in measure(options.model, policy, options)]
    print(table(results))
    result_file.write(options.json, {}, rows=results)


def measure(name: str, policy: str, options: argparse.Namespace) -> list[Row]:
    """A row for each budget. options: those of benchmarks.accuracy that say which streams, and the folder of parts."""
    chosen = argparse.Namespace(**vars(options) | {"policies": [policy, contenders.in_int8(policy)]})
    measured = {
        (part.settings.policy, part.settings.budget): part for part in accuracy.run(accuracy.load(name), chosen)
    }
    return [
        row_of(name, measured[policy, budget], measured[contenders.in_int8(policy), budget])
        for budget in options.budgets
    ]


def row_of(name: str, exact: Part, rounded: Part) -> Row:
    before, after = ([[o.is_right for o in of_stream] for of_stream in part.outcomes] for part in (exact, rounded))
    answers, others = (list(itertools.chain(*by_stream)) for by_stream in (before, after))
    low, high = rows.loss_interval(before, after)
    return Row(
        model=name,
        policy=exact.settings.policy,
        budget=exact.settings.budget,
        frames=exact.settings.length,
        streams=len(before),
        n=len(answers),
        exact=round(statistics.fmean(answers), 4),
        int8=round(statistics.fmean(others), 4),
        lost_points=round(100 * (statistics.fmean(answers) - statistics.fmean(others)), 3),
        low=round(low, 3),
        high=round(high, 3),
        changed_answers=sum(map(operator.ne, answers, others)),
        exact_nbytes=exact.nbytes_per_camera,
        int8_nbytes=rounded.nbytes_per_camera,
        commit=rounded.settings.commit,
    )


def table(results: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| model | policy | tokens | n | exact | int8 | points lost (95 %) | other answers | bytes, exact | int8 |",
        "|---|---|" + "---:|" * 8,
    ]
    for row in results:
        lost = f"{row.lost_points:.2f} ({row.low:.2f} to {row.high:.2f})"
        nbytes = f"{row.exact_nbytes:,} | {row.int8_nbytes:,}"
        accuracies = f"{row.n:,} | {row.exact:.3f} | {row.int8:.3f}"
        lines.append(
            f"| {row.model} | {row.policy} | {row.budget} | {accuracies} | {lost} | {row.changed_answers} | {nbytes} |"
        )
    return "\n".join(lines)


def worst(streams: int, frames: int) -> Row:
    """Of the budgets the one that loses most, with the default policy. Nothing is saved."""
    with tempfile.TemporaryDirectory() as folder:
        return max(measure("tiny", OURS, _options_of(streams, frames, Path(folder))), key=lambda row: row.lost_points)


def _options_of(streams: int, frames: int, folder: Path, *, seed: int = 1) -> argparse.Namespace:
    return argparse.Namespace(
        streams=streams,
        lengths=[frames],
        budgets=list(BUDGETS),
        folder=folder,
        seed=seed,
        character=MIXED,
        visits=VISITS,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="name or folder of a checkpoint of the tiny shape")
    parser.add_argument("--policies", nargs="+", default=[OURS], choices=[OURS, "hermes"])
    parser.add_argument("--seed", type=int, default=1, help="of the scenes")
    parser.add_argument("--streams", type=accuracy.positive, default=24)
    parser.add_argument("--frames", type=accuracy.positive, default=256, help="of each stream")
    parser.add_argument("--folder", type=Path, default=Path(".accuracy"), help="where finished parts are saved")
    result_file.add_option(parser)
    given = parser.parse_args()
    measured = _options_of(given.streams, given.frames, given.folder, seed=given.seed)
    return argparse.Namespace(**vars(measured) | {name: getattr(given, name) for name in ("model", "policies", "json")})


if __name__ == "__main__":
    main()
