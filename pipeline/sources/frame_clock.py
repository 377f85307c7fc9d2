"""The clock by which feeds work, which is never set, and the Unix times that frames get for its times."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from cache_store.gap import GapReason
from pipeline.boot_clock import boot_time_s
from pipeline.sources.clips import Clip

NOTED_STEP_S = 1.0  # a smaller change of the wall clock is worth no word
REPEATED_PACE = 0.01  # of frames whose times the memory has already
MIN_STEP_S = 1e-3  # from one frame to the next
_READINGS = 3
_TICKS_PER_S = 1024  # times that are moved by whole ticks and back are the same to the bit


class FrameClock(Protocol):
    """Seconds that never run back, and what to add to them now for the Unix time of the wall clock."""

    def __call__(self) -> float: ...

    def correction_s(self) -> float: ...


class SteadyClock:
    """Unix time as it was when this clock was made. It goes on whatever the wall clock is set to."""

    def __init__(self, wall: Callable[[], float] = time.time, boot: Callable[[], float] = boot_time_s) -> None:
        self._wall, self._boot = wall, boot
        self._made_s = self._difference_s()

    def __call__(self) -> float:
        return self._boot() + self._made_s

    def correction_s(self) -> float:
        """By how much the wall clock was set forward since, below 0 for back."""
        return round(_TICKS_PER_S * (self._difference_s() - self._made_s)) / _TICKS_PER_S

    def _difference_s(self) -> float:
        # A thread that waits for a core between the two readings makes the difference smaller, never larger.
        return max(self._wall() - self._boot() for _ in range(_READINGS))


class FrameTimes:
    """Gives the frames of one camera Unix times that always rise, whatever the wall clock is set to.

    They are the wall clock's. Where that was set forward the times jump with it, and the time that is left out is a gap
    with a reason of its own. Where it was set back, times come that the memory has already. Frames then get times right
    behind the newest one, at REPEATED_PACE, until the wall clock has passed that: their order is kept, no frame is
    lost, and all frames before and after that stretch have the time that the wall clock showed.
    """

    def __init__(self, clock: FrameClock, newest_s: float | None, *, can_wait: bool) -> None:
        """newest_s: Unix time of the newest frame that was fed before. can_wait: the source is a recording."""
        self._clock, self._can_wait = clock, can_wait
        self.newest_s = -math.inf if newest_s is None else newest_s
        self._steady_s = math.inf  # of the newest frame, by the feed's clock
        self._correction_s: float | None = None  # of the newest frame
        self._kept_s: float | None = None
        self._ahead_s = 0.0

    def steady_s(self, unix_s: float, correction_s: float) -> float:
        """What the feed's clock showed at a Unix time that has passed.

        One that has not come, because the wall clock was set back since, is now, or a camera would give nothing until
        it comes. A recording waits for it.
        """
        steady_s = unix_s - correction_s
        return steady_s if self._can_wait else min(steady_s, self._clock())

    def keep_correction(self, correction_s: float | None) -> None:
        """Dates the frames of a recording by one correction, whatever the wall clock is set to; None: by the newest."""
        self._kept_s = correction_s

    @property
    def note(self) -> str:
        """What an operator should know of the times of the frames now, empty if they are right."""
        if self._ahead_s <= NOTED_STEP_S:
            return ""
        stands_at = f"{datetime.fromtimestamp(self.newest_s, UTC):%Y-%m-%d %H:%M} UTC"
        return f"the clock was set back: the times of its frames stand at {stands_at} until the clock has passed that"

    def date(self, clip: Clip) -> Clip:
        """The clip with Unix times in place of those of the feed's clock."""
        now_s = self._clock.correction_s()
        correction_s = now_s if self._kept_s is None else self._kept_s
        was_set_forward = self._correction_s is not None and correction_s - self._correction_s > NOTED_STEP_S
        self._correction_s = correction_s
        times_s = tuple(self._unix(time_s, correction_s) for time_s in clip.times_s)
        dated = dataclasses.replace(clip, times_s=times_s, received_s=clip.received_s + now_s)
        return dated.after_loss(GapReason.CLOCK_SET) if was_set_forward else dated

    def _unix(self, steady_s: float, correction_s: float) -> float:
        right_s = steady_s + correction_s
        step_s = max(MIN_STEP_S, REPEATED_PACE * (steady_s - self._steady_s))
        self.newest_s, self._steady_s = max(right_s, self.newest_s + step_s), steady_s
        self._ahead_s = self.newest_s - right_s
        return self.newest_s
