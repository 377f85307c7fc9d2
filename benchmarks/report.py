"""Tables and plots of the rows of benchmarks.accuracy: python -m benchmarks.report ROWS... --plots FOLDER."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks import result_file
from benchmarks.contenders import GATED, OURS
from benchmarks.parts import MIXED
from benchmarks.rows import ALL, Row, ScoreRow
from benchmarks.streams import VISITS

_T = TypeVar("_T")
_DEFAULT_KIND = (VISITS, MIXED)


def main() -> None:
    """Prints the tables of all rows in the files, and plots them on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, nargs="+", help="files that benchmarks.accuracy wrote with --json")
    parser.add_argument("--plots", type=Path, help="write the plots into this folder")
    options = parser.parse_args()
    rows = [Row(**row) for file in options.rows for row in result_file.read_rows(file)]
    print(markdown([row for row in rows if row.delay_s is None]))
    if options.plots:
        plot(rows, options.plots)


def markdown(rows: Sequence[ScoreRow]) -> str:
    """A Markdown table for each heading, with a line for each label and a column for each need."""
    tables = []
    for heading in _distinct(row.heading for row in rows):
        tables.append(f"### {heading}\n\n" + _table([row for row in rows if row.heading == heading]))
    return "\n\n".join(tables)


def _table(rows: Sequence[ScoreRow]) -> str:
    has_models = len(rows[0].by_model) > 1
    needs = [need for need in _distinct(row.need for row in rows) if need != ALL]
    heads = ["policy", ALL, *needs, *["each model"] * has_models, "n", *rows[0].details]
    heads += ["KB a camera", "upkeep", "TTFT"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for label in _distinct(row.label for row in rows):
        by_need = {row.need: row for row in rows if row.label == label}
        whole = by_need[ALL]
        cells = [f"{whole.accuracy:.3f} ({whole.low:.3f}-{whole.high:.3f})"]
        cells += [f"{by_need[need].accuracy:.3f}" if need in by_need else "-" for need in needs]
        cells += [" ".join(f"{accuracy:.3f}" for accuracy in whole.by_model)] * has_models + [f"{whole.n:,}"]
        cells += whole.details.values()
        cells += [f"{whole.bytes_per_camera / 1e3:,.0f}", f"{whole.upkeep_share:.0%}", f"{whole.ttft_ms:.1f} ms"]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], folder: Path) -> None:
    """Plots accuracy against budget, stream length, delay and visits, each if the rows have several values of it."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    by_default = [row for row in rows if row.need == ALL and (row.visits, row.character) == _DEFAULT_KIND]
    whole = [row for row in by_default if row.delay_s is None]
    by_visits = _by_visits(rows)
    plots = [("visits", by_visits, _visits, "visits in the stream, about")]
    if whole:
        longest, widest = max(row.length for row in whole), _common_length(whole)
        plots += [
            ("budget", [row for row in whole if row.length == widest], _budget, "tokens a layer"),
            ("length", [row for row in whole if row.budget == _common_budget(whole, longest)], _length, "frames"),
            ("delay", _by_delay(by_default, widest), _delay, "seconds since the fact was last seen, at most"),
        ]
    for name, some, at, label in plots:
        if len({at(row) for row in some}) > 1:
            _plot(some, at, label, folder / f"accuracy-{name}.png")


def _plot(rows: Sequence[Row], at: Callable[[Row], float], label: str, file: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    axes.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)
    for policy in _distinct(row.policy for row in rows):
        points = sorted((row for row in rows if row.policy == policy), key=at)
        is_ours = policy in (OURS, GATED)
        xs, ys = [at(row) for row in points], [row.accuracy for row in points]
        axes.plot(xs, ys, marker="o", markersize=3, linewidth=3 if is_ours else 1.2, label=policy)
        axes.fill_between(xs, [row.low for row in points], [row.high for row in points], alpha=0.08)
    axes.set_xscale("log", base=2)
    axes.set_xlabel(label)
    axes.set_ylabel("right answers")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _by_delay(rows: Sequence[Row], length: int) -> list[Row]:
    budget = _common_budget(rows, length)
    return [row for row in rows if row.delay_s is not None and (row.length, row.budget) == (length, budget)]


def _by_visits(rows: Sequence[Row]) -> list[Row]:
    """Rows that differ in the number of visits only, of the longest streams with several numbers of visits."""
    whole = [row for row in rows if row.need == ALL and row.delay_s is None and row.character == MIXED]
    groups: dict[tuple[int, int], list[Row]] = {}
    for row in whole:
        groups.setdefault((row.length, row.budget), []).append(row)
    several = {kind: some for kind, some in groups.items() if len({row.visits for row in some}) > 1}
    return several[max(several)] if several else []


def _common_budget(rows: Sequence[Row], length: int) -> int:
    """The largest budget measured at a length."""
    return max(row.budget for row in rows if row.length == length)


def _common_length(rows: Sequence[Row]) -> int:
    """The longest of the lengths at which the most budgets were measured."""
    return max(_distinct(row.length for row in rows), key=lambda length: (len(_budgets(rows, length)), length))


def _budgets(rows: Sequence[Row], length: int) -> set[int]:
    return {row.budget for row in rows if row.length == length}


def _budget(row: Row) -> float:
    return row.budget


def _length(row: Row) -> float:
    return row.length


def _visits(row: Row) -> float:
    return row.visits


def _delay(row: Row) -> float:
    assert row.delay_s is not None
    return row.delay_s


def _distinct(items: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(items))


if __name__ == "__main__":
    main()
