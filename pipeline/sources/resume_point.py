"""Where a camera's source goes on each time that it is opened."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.cameras import CameraSpec
from pipeline.network import urls
from pipeline.network.urls import FileUrl
from pipeline.sources import frame_times
from pipeline.sources.frame_clock import FrameClock
from pipeline.sources.frame_times import NOTED_STEP_S, FrameTimes

_WAIT_S = 1.0  # until the wall clock is read again, which may have been set


@dataclass(frozen=True, slots=True)
class OpeningTimes:
    """By the feed's clock, as of when a source is opened; see SourceContext."""

    started_s: float
    after_s: float
    correction_s: float


class ResumePoint:
    """Behind which frame a source goes on, and from when on.

    A live camera goes on behind the newest frame that it gave. A recording goes on behind the newest frame that was
    dated, at the Unix time of that frame, which moves on the feed's clock when the wall clock is set.
    """

    def __init__(self, times: FrameTimes, clock: FrameClock, started_s: float, *, is_recording: bool) -> None:
        """started_s: Unix time when the camera was added."""
        self._times, self._clock = times, clock
        self._started_s, self._is_recording = started_s, is_recording
        self._given_s: float | None = None

    @classmethod
    def of(cls, spec: CameraSpec, times: FrameTimes, clock: FrameClock, started_s: float) -> ResumePoint:
        """That of this camera. A looped file is no recording: its frames have the times at which they are shown."""
        is_recording = isinstance(urls.parse(spec.url), FileUrl) and not spec.loop
        return cls(times, clock, started_s, is_recording=is_recording)

    @property
    def has_frames(self) -> bool:
        """Whether the camera gave frames before, to this feed or another one."""
        return self._given_s is not None or self._times.newest_s > -math.inf

    def give(self, time_s: float) -> None:
        """Notes that a source gave the frame of this time, by the feed's clock."""
        self._given_s = time_s

    def await_begin(self, wait: Callable[[float], bool], on_wait: Callable[[str], None]) -> bool:
        """Waits until the wall clock shows the time at which a recording goes on; False if it is to stop.

        wait: sleeps for so many seconds; returns whether to stop. on_wait: takes what the operator should know of a
        longer wait. A clock that is set meanwhile ends the wait. Other sources never wait.
        """
        begin_s = max(self._started_s, self._times.newest_s)
        while self._is_recording and (wait_s := begin_s - self._clock() - self._clock.correction_s()) > 0:
            if wait_s > NOTED_STEP_S:
                on_wait(f"the clock has not reached the time at which it goes on, {frame_times.shown(begin_s)}")
            if wait(min(wait_s, _WAIT_S)):
                return False
        return True

    def opening_times(self) -> OpeningTimes:
        """The times by which a source is opened now."""
        correction_s = self._clock.correction_s()
        dated_s = self._steady_s(self._times.newest_s, correction_s)
        after_s = dated_s if self._is_recording or self._given_s is None else self._given_s
        return OpeningTimes(self._steady_s(self._started_s, correction_s), after_s, correction_s)

    def _steady_s(self, unix_s: float, correction_s: float) -> float:
        """The time of the feed's clock at a Unix time.

        A time that lies ahead, because the wall clock was set back since, counts as now: a live camera would give no
        frame until then. A recording waits for it.
        """
        steady_s = unix_s - correction_s
        return steady_s if self._is_recording else min(steady_s, self._clock())
