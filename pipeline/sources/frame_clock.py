"""The clock of feeds, which goes on evenly when the wall clock is set, and the Unix times of frames."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from cache_store.gap import GapReason
from pipeline.boot_clock import boot_time_s
from pipeline.cameras import CameraSpec, PlaybackSpeed
from pipeline.network import urls
from pipeline.network.urls import FileUrl
from pipeline.sources.clips import Clip

NOTED_STEP_S = 1.0  # a smaller change of the wall clock is not reported
REPEATED_PACE = 0.01  # of frames at times that the memory has already
MIN_STEP_S = 1e-3  # from one frame to the next
_READINGS = 3
_WAIT_S = 1.0  # until the wall clock is read again, which may have been set
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


class FrameTimes:
    """Gives the frames of one camera Unix times that always rise, whatever the wall clock is set to.

    Frames have the times of the wall clock. If it is set forward, the times jump with it, and the jump is a gap with a
    reason of its own. If it is set back, the memory has the coming times already. Frames then get times right behind
    the newest one, at REPEATED_PACE, until the wall clock has passed the newest time. So their order is kept and no
    frame is lost.
    """

    def __init__(
        self, clock: FrameClock, newest_s: float | None, *, can_wait: bool, begin_s: float = -math.inf
    ) -> None:
        """newest_s: Unix time of the newest frame that was fed before. can_wait: the source is a recording.

        begin_s: the Unix time of its first frame, if known.
        """
        self._clock, self._can_wait, self._begin_s = clock, can_wait, begin_s
        self.newest_s = -math.inf if newest_s is None else newest_s
        self._steady_s = math.inf  # the newest frame's time, by the feed's clock
        self._correction_s: float | None = None  # of the newest frame
        self._kept_s: float | None = None
        self._ahead_s = 0.0

    @classmethod
    def of(cls, spec: CameraSpec, clock: FrameClock, newest_s: float | None, *, started_s: float) -> FrameTimes:
        """Those of this camera, which was added at started_s."""
        is_recording = isinstance(urls.parse(spec.url), FileUrl) and not spec.loop
        begin_s = started_s if spec.pace is PlaybackSpeed.LIVE else -math.inf
        return cls(clock, newest_s, can_wait=is_recording, begin_s=begin_s)

    def steady_s(self, unix_s: float, correction_s: float) -> float:
        """The time of the feed's clock at a Unix time.

        A time that lies ahead, because the wall clock was set back since, counts as now: a live camera would give no
        frame until then. A recording waits for it.
        """
        steady_s = unix_s - correction_s
        return steady_s if self._can_wait else min(steady_s, self._clock())

    def await_next(self, wait: Callable[[float], bool], on_wait: Callable[[str], None]) -> None:
        """Waits until the wall clock shows the time at which a recording goes on; other sources never wait.

        wait: sleeps for so many seconds; returns whether to stop. on_wait: takes what the operator should know of a
        longer wait. A clock that is set meanwhile ends the wait.
        """
        next_s = max(self._begin_s, self.newest_s)
        while self._can_wait and (wait_s := next_s - self._clock() - self._clock.correction_s()) > 0:
            if wait_s > NOTED_STEP_S:
                on_wait(f"the clock has not reached the time at which it goes on, {_shown(next_s)}")
            if wait(min(wait_s, _WAIT_S)):
                return

    def after_s(self, newest_s: float, correction_s: float) -> float:
        """The newest frame's time by the feed's clock: newest_s, or that of its Unix time now for a recording."""
        return self.newest_s - correction_s if self._can_wait else newest_s

    def keep_correction(self, correction_s: float | None) -> None:
        """Sets the one correction by which all frames of a recording are dated; None for that of the moment."""
        self._kept_s = correction_s

    @property
    def note(self) -> str:
        """What the operator should know of the times that frames get now; empty if they are right."""
        if self._ahead_s <= NOTED_STEP_S:
            return ""
        stands_at = _shown(self.newest_s)
        return f"the clock was set back: the times of its frames stand at {stands_at} until the clock has passed that"

    def date(self, clip: Clip) -> Clip:
        """The clip with Unix times in place of the times of the feed's clock."""
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


def _shown(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M} UTC"
