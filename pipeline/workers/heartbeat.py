"""Whether the thread of a camera's feed is caught inside of one call of a library, as in an endless loop of a decoder.

Such a call releases Python's lock, so the worker answers all the same.
"""

from __future__ import annotations

import threading
import time

from pipeline.sources.frame_clock import FrameClock

STUCK_S = 60.0  # of processor time: a long group of pictures of 4K HEVC takes a third of that on a slow core
_OF_THREAD = 0b110  # a clock of one thread's processor time, as pthread_getcpuclockid makes it


class Heartbeat:
    """The clock of one feed. A feed reads it for each packet and each frame, on its thread."""

    def __init__(self, clock: FrameClock, stuck_s: float = STUCK_S) -> None:
        self._clock, self._stuck_s = clock, stuck_s
        self._calls = self._calls_before = 0
        self._thread: int | None = None
        self._cpu_before_s = 0.0

    def __call__(self) -> float:
        self._calls += 1
        self._thread = threading.get_native_id()
        return self._clock()

    def correction_s(self) -> float:
        """See FrameClock."""
        return self._clock.correction_s()

    def is_stuck(self) -> bool:
        """Whether the thread has run for `stuck_s` since it last read the clock. One other thread asks, often."""
        if self._thread is None:
            return False
        try:
            cpu_s = time.clock_gettime(~self._thread << 3 | _OF_THREAD)
        except OSError:  # it has ended, and another thread may get its number
            self._thread = None
            return False
        if self._calls != self._calls_before:
            self._calls_before, self._cpu_before_s = self._calls, cpu_s
        return cpu_s - self._cpu_before_s > self._stuck_s
