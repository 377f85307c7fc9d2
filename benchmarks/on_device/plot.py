"""A picture of the figures: each against what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.on_device.metrics import AT_LEAST, AT_MOST, Row


def plot(rows: Sequence[Row], file: Path) -> None:
    """A bar for each figure that has a limit: the share of the limit that it takes. 1 and less is what was asked."""
    mpl.use("Agg")
    limited = [row for row in rows if row.metric in AT_MOST or row.metric in AT_LEAST][::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(limited) + 1), layout="constrained")
    shares = [taken(row) for row in limited]
    bars = axes.barh([row.metric for row in limited], shares, color=["C0" if row.holds else "C3" for row in limited])
    axes.bar_label(bars, [f"{row.value:.3g} ({row.limit})" for row in limited], padding=4, fontsize=8)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlim(0, 1.4 * max(1.0, *shares))
    axes.set_xlabel("measured over its limit (where at least is asked: limit over measured)")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def taken(row: Row) -> float:
    """The share of its limit that a figure takes; above 1 it does not hold."""
    return row.value / AT_MOST[row.metric] if row.metric in AT_MOST else AT_LEAST[row.metric] / max(row.value, 1e-9)
