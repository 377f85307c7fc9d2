"""Which frames of a stream are looked at: by their times, never by their count."""

from __future__ import annotations

import math
from collections.abc import Sequence

SPAN_S = 4.0
EARLY = 0.01  # of the period: a frame this much before its moment is on time


class FrameRate:
    """Learns how many frames a second a stream really has; what its header says is often made up."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._frames = 0

    def add(self, time_s: float) -> float | None:
        """Takes the time of the next frame, in whatever order; returns the rate once SPAN_S of them have come."""
        self._first_s = time_s if self._first_s is None else self._first_s
        self._frames += 1
        span_s = time_s - self._first_s
        return (self._frames - 1) / span_s if span_s >= SPAN_S else None


class Sampler:
    """Picks the frame of each moment on a grid that starts at the first frame, `fps` moments a second.

    A moment without a frame passes; two picks are never closer than half a period.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._start_s: float | None = None
        self._due_s = -math.inf

    def pick(self, times_s: Sequence[float]) -> list[int]:
        """Indices into `times_s` (ascending) of the frames that are due. Frames of earlier calls may be among them."""
        return [index for index, time_s in enumerate(times_s) if self._is_due(time_s)]

    def _is_due(self, time_s: float) -> bool:
        if time_s < self._due_s - EARLY * self._period_s:
            return False
        if self._start_s is None:
            self._start_s = time_s
        # Half as much again, or rounding would take a frame that is just on time for one of the moment before.
        moment = math.floor((time_s - self._start_s) / self._period_s + 1.5 * EARLY)
        self._due_s = max(self._start_s + (moment + 1) * self._period_s, time_s + 0.6 * self._period_s)
        return True
