"""The mean of a figure's newest measurements. 0 stands for none yet."""

from __future__ import annotations

_NEWEST_SHARE = 0.1  # of a measurement, in the mean


def mean(before: float, newest: float) -> float:
    """The mean of before, with one measurement more; the first one counts in full."""
    return before + _NEWEST_SHARE * (newest - before) if before else newest


def peak(before: float, newest: float) -> float:
    """As `mean`, but a measurement above it counts in full: the most, lately."""
    return max(newest, mean(before, newest))
