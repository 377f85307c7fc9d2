"""How long the next picture of a live stream may take: longer where its pictures are far apart. Knows no clock."""

from __future__ import annotations

from collections import deque

_MARGIN = 2.5  # of the longest of the last intervals
_NUM_INTERVALS = 8
_MIN_INTERVALS = 2  # before them, pictures of a camera that has few may have come together


class PictureTimeout:
    """Takes the times of the pictures, on the stream's clock: a playlist gives many at once."""

    def __init__(self, usual_s: float, longest_s: float) -> None:
        """usual_s: what a picture may take at least; longest_s: at most, and before enough pictures have come."""
        self._usual_s, self._longest_s = usual_s, max(usual_s, longest_s)
        self._last_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=_NUM_INTERVALS)

    def add(self, time_s: float) -> None:
        """Takes the time of the next picture."""
        if self._last_s is not None:
            self._intervals_s.append(time_s - self._last_s)
        self._last_s = time_s

    @property
    def limit_s(self) -> float:
        """How long the next picture may take."""
        if len(self._intervals_s) < _MIN_INTERVALS:
            return self._longest_s
        return min(self._longest_s, max(self._usual_s, _MARGIN * max(self._intervals_s)))
