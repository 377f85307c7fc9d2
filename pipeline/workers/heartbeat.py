"""Whether the thread of a camera's feed is caught inside of one call of a library, as in an endless loop of a decoder.

Such a call releases Python's lock, so the worker answers all the same.
"""

from __future__ import annotations

import threading
import time

from pipeline.sources.frame_clock import FrameClock
from pipeline.sources.ingest_config import IngestConfig

# Of processor time, in one call. The worst pictures of 4096 x 4096 that were tried (noise, AV1) took 2 s.
STUCK_S, _USUAL_PIXELS = 10.0, 4096 * 4096
_OF_THREAD = 0b110  # a clock of one thread's processor time, as pthread_getcpuclockid makes it


def longest_call_s(config: IngestConfig) -> float:
    """The processor time after which one call of a library counts as endless: more for larger frames."""
    return STUCK_S * max(1.0, config.max_width * config.max_height / _USUAL_PIXELS)


class Heartbeat:
    """The clock of one feed. A feed reads it before each packet that it reads or decodes, on its thread."""

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
        """Whether the thread has run for `stuck_s` since it last read the clock. Called often, by one other thread."""
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
