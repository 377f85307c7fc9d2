"""The mean of a figure's newest measurements. 0 stands for none yet."""

from __future__ import annotations

_NEWEST_SHARE = 0.1  # of a measurement, in the mean


def mean(before: float, newest: float) -> float:
    """The mean with one more measurement. The first measurement is the mean."""
    return before + _NEWEST_SHARE * (newest - before) if before else newest


def peak(before: float, newest: float) -> float:
    """The maximum, which falls slowly: a measurement above it replaces it, a lower one counts as in `mean`."""
    return max(newest, mean(before, newest))
