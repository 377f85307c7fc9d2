"""Official averages of right answers, with 95 % intervals from a bootstrap over videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import rows

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A reported figure: the mean over its groups of the mean over their cells.

    A cell is a set of tasks whose answers are pooled. Cells and groups without an answer are left out.
    """

    name: str
    groups: tuple[tuple[frozenset[str], ...], ...]


@dataclass(frozen=True, slots=True)
class Score:
    """A figure's value, its 95 % interval, and the number of answers."""

    value: float
    low: float
    high: float
    n: int


def pooled(name: str, tasks: Sequence[str]) -> Figure:
    """The share of right answers over all of these tasks."""
    return Figure(name, ((frozenset(tasks),),))


def mean_of_tasks(name: str, *groups: Sequence[str]) -> Figure:
    """The mean over groups of the mean over their tasks."""
    return Figure(name, tuple(tuple(frozenset({task}) for task in group) for group in groups))


def score(figure: Figure, by_video: Sequence[Sequence[tuple[str, bool]]]) -> Score | None:
    """The figure over the answers of each video, as (task, is right); None without an answer."""
    cells = [cell for group in figure.groups for cell in group]
    right, totals = np.zeros((len(by_video), len(cells))), np.zeros((len(by_video), len(cells)))
    for video, answers in enumerate(by_video):
        for task, is_right in answers:
            for column, cell in enumerate(cells):
                totals[video, column] += task in cell
                right[video, column] += task in cell and is_right
    if not totals.any():
        return None
    drawn = np.random.default_rng(0).multinomial(len(by_video), [1 / len(by_video)] * len(by_video), rows.DRAWS)
    weights: _Floats = np.vstack((np.ones(len(by_video)), drawn)).astype(np.float64)
    values = _average(figure, _share(weights @ right, weights @ totals))
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return Score(float(values[0]), float(low), float(high), int(totals.sum()))


def _average(figure: Figure, shares: _Floats) -> _Floats:
    """Of the shares of the cells, in their order, for each draw. [D, C] -> [D]"""
    by_group, first = [], 0
    for group in figure.groups:
        by_group.append(_mean(shares[:, first : first + len(group)]))
        first += len(group)
    return _mean(np.stack(by_group, axis=1))


def _mean(values: _Floats) -> _Floats:
    """The mean of each row's numbers, NaN where a row has none. [D, C] -> [D]"""
    return _share(np.nansum(values, axis=1), np.sum(~np.isnan(values), axis=1).astype(np.float64))


def _share(parts: _Floats, totals: _Floats) -> _Floats:
    """parts / totals, NaN where a total is 0."""
    return np.divide(parts, totals, out=np.full_like(parts, np.nan), where=totals > 0)
