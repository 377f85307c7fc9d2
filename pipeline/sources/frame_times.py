"""The Unix times of frames, whatever the wall clock is set to."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime

from cache_store.gap import GapReason
from pipeline.sources.clips import Clip
from pipeline.sources.frame_clock import FrameClock

NOTED_STEP_S = 1.0  # a smaller change of the wall clock is not reported
REPEATED_PACE = 0.01  # of frames at times that the memory has already
MIN_STEP_S = 1e-3  # from one frame to the next


class RisingTimes:
    """Times of one camera's frames that always rise.

    Where the wall clock, or another machine's, has given the coming times already, frames get times right behind the
    newest one, at REPEATED_PACE, until the wall clock has passed that. So their order is kept and no frame is lost.
    """

    def __init__(self, newest_s: float | None) -> None:
        """newest_s: Unix time of the newest frame before."""
        self.newest_s = -math.inf if newest_s is None else newest_s
        self._steady_s = math.inf  # the newest frame's time, by a clock that nobody sets
        self._ahead_s = 0.0

    @property
    def note(self) -> str:
        """What the operator should know of the times that frames get now; empty if they are right."""
        if self._ahead_s <= NOTED_STEP_S:
            return ""
        stands_at = shown(self.newest_s)
        return f"the clock was set back: the times of its frames stand at {stands_at} until the clock has passed that"

    def date(self, clip: Clip, correction_s: float = 0.0) -> Clip:
        """The clip with times that rise. correction_s: what makes its times those of the wall clock."""
        dated = [self._next(time_s, correction_s) for time_s in clip.times_s]
        has_repeated = clip.has_repeated_times or any(is_repeated for _, is_repeated in dated)
        return dataclasses.replace(clip, times_s=tuple(time_s for time_s, _ in dated), has_repeated_times=has_repeated)

    def _next(self, steady_s: float, correction_s: float) -> tuple[float, bool]:
        """The time of the next frame, and whether it is not that of the wall clock."""
        right_s = steady_s + correction_s
        step_s = max(MIN_STEP_S, REPEATED_PACE * (steady_s - self._steady_s))
        self.newest_s, self._steady_s = max(right_s, self.newest_s + step_s), steady_s
        self._ahead_s = self.newest_s - right_s
        return self.newest_s, self._ahead_s > 0


class FrameTimes:
    """Gives the frames of one camera Unix times that always rise, whatever the wall clock is set to.

    Frames have the times of the wall clock. If it is set forward, the times jump with it, and the jump is a gap with a
    reason of its own. If it is set back, the memory has the coming times already; see RisingTimes.
    """

    def __init__(self, clock: FrameClock, newest_s: float | None) -> None:
        """newest_s: Unix time of the newest frame that was fed before."""
        self._clock = clock
        self._rising = RisingTimes(newest_s)
        self._correction_s: float | None = None  # of the newest frame
        self._kept_s: float | None = None

    def keep_correction(self, correction_s: float | None) -> None:
        """Sets the one correction by which all frames of a recording are dated; None for that of the moment."""
        self._kept_s = correction_s

    @property
    def newest_s(self) -> float:
        """Unix time of the newest frame, minus infinity before the first one."""
        return self._rising.newest_s

    @property
    def note(self) -> str:
        """See RisingTimes.note."""
        return self._rising.note

    def date(self, clip: Clip) -> Clip:
        """The clip with Unix times in place of the times of the feed's clock."""
        now_s = self._clock.correction_s()
        correction_s = now_s if self._kept_s is None else self._kept_s
        was_set_forward = self._correction_s is not None and correction_s - self._correction_s > NOTED_STEP_S
        self._correction_s = correction_s
        dated = self._rising.date(dataclasses.replace(clip, received_s=clip.received_s + now_s), correction_s)
        has_jumped = was_set_forward and not dated.has_repeated_times
        return dated.after_loss(GapReason.CLOCK_SET) if has_jumped else dated


def shown(unix_s: float) -> str:
    """The minute, for people."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M} UTC"
