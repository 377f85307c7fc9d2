"""Selects the frames to sample from a stream by their times, never by their count."""

from __future__ import annotations

import math
from collections.abc import Sequence

MEASURE_S = 4.0
EARLY_TOLERANCE = 0.01  # of the period: a frame this much before its moment is on time


class FrameRate:
    """Measures the frame rate of a stream, because the rate in its header is often wrong."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._frames = 0

    def add(self, time_s: float) -> float | None:
        """Takes the time of the next frame, in any order; returns the rate once MEASURE_S have passed."""
        self._first_s = time_s if self._first_s is None else self._first_s
        self._frames += 1
        span_s = time_s - self._first_s
        return (self._frames - 1) / span_s if span_s >= MEASURE_S else None


class Sampler:
    """Picks one frame for each moment of a grid that starts at the first frame and has `fps` moments a second.

    A moment without a frame is skipped. Two picks are never closer than half a period.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._start_s: float | None = None
        self._due_s = -math.inf

    def pick(self, times_s: Sequence[float]) -> list[int]:
        """Indices of the frames that are due. `times_s` ascends and may repeat the times of earlier calls."""
        return [index for index, time_s in enumerate(times_s) if self._is_due(time_s)]

    def _is_due(self, time_s: float) -> bool:
        if time_s < self._due_s - EARLY_TOLERANCE * self._period_s:
            return False
        if self._start_s is None:
            self._start_s = time_s
        # 1.5 times the tolerance: rounding must not assign a frame that is just on time to the moment before.
        moment = math.floor((time_s - self._start_s) / self._period_s + 1.5 * EARLY_TOLERANCE)
        self._due_s = max(self._start_s + (moment + 1) * self._period_s, time_s + 0.6 * self._period_s)
        return True
