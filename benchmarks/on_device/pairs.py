"""Two ways to do one thing, timed in turn, so that what else the machine does meets both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians over the rounds. ratio: the median of each round's own."""

    ours_s: float
    bare_s: float
    ratio: float


def measure(ours: Callable[[], object], bare: Callable[[], object], *, rounds: int) -> Pair:
    """Runs both once unmeasured, then in turn, each first in every other round."""
    ours()
    bare()
    timed: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2:
            bare_s, ours_s = seconds(bare), seconds(ours)
        else:
            ours_s, bare_s = seconds(ours), seconds(bare)
        timed.append((ours_s, bare_s))
    return of(timed)


def of(timed: Sequence[tuple[float, float]]) -> Pair:
    """The medians of rounds that were timed by their caller: ours, bare."""
    ours_s, bare_s = (statistics.median(column) for column in zip(*timed, strict=True))
    return Pair(ours_s, bare_s, statistics.median(ours / bare for ours, bare in timed))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, on the GPU too."""
    synchronise()
    began_s = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - began_s


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many per cent of them are."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def synchronise() -> None:
    """Waits for all work of the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
