"""The clock of feeds, which goes on evenly when the wall clock is set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from pipeline.boot_clock import boot_time_s

_READINGS = 3
_TICKS_PER_S = 1024  # a time that is moved by whole ticks and back is the same to the bit


class FrameClock(Protocol):
    """Seconds that never run back, and the correction that makes them Unix time now, by the wall clock."""

    def __call__(self) -> float: ...

    def correction_s(self) -> float: ...


class SteadyClock:
    """Unix time by the wall clock as it was when this clock was made, whatever it is set to later."""

    def __init__(self, wall: Callable[[], float] = time.time, boot: Callable[[], float] = boot_time_s) -> None:
        self._wall, self._boot = wall, boot
        self._made_s = self._difference_s()

    def __call__(self) -> float:
        return self._boot() + self._made_s

    def correction_s(self) -> float:
        """Seconds by which the wall clock was set forward since then; negative if it was set back."""
        return round(_TICKS_PER_S * (self._difference_s() - self._made_s)) / _TICKS_PER_S

    def _difference_s(self) -> float:
        # A thread that waits for a core between the two readings makes the difference smaller, never larger.
        return max(self._wall() - self._boot() for _ in range(_READINGS))
