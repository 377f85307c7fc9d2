"""The unit of ingest: a short run of sampled frames with their times."""

from __future__ import annotations

import bisect
import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Clip:
    """Sampled frames of one camera in order of time, ready for the device.

    frames: uint8 RGB [F, H, W, 3], reduced to the size that the model reads.
    times_s: Unix time of each frame, strictly increasing; inside of a feed, by the feed's clock.
    previews: a small image of each frame for people to look at, uint8 RGB [h, w, 3].
    received_s: when the newest frame was decoded, by the same clock.
    period_s: the time between two sampled frames of which neither is missing.
    lost_before: of each frame, why frames right before it were lost, "" if none were; () stands for none anywhere.
    has_repeated_times: times that the clock gave before are coming again, so that the times of some of its frames are
        closer to each other than the frames were, and do not show what was lost.
    """

    camera: str
    frames: NDArray[np.uint8]
    times_s: tuple[float, ...]
    previews: tuple[NDArray[np.uint8], ...]
    received_s: float
    period_s: float = 0.0
    lost_before: tuple[str, ...] = ()
    has_repeated_times: bool = False

    def after_loss(self, reason: str) -> Clip:
        """The clip, with frames lost right before it."""
        return dataclasses.replace(self, lost_before=(reason, *(self.lost_before or ("",) * len(self.times_s))[1:]))

    def after(self, time_s: float) -> Clip | None:
        """The part of the clip that is later than `time_s`, None if there is none."""
        first = bisect.bisect_right(self.times_s, time_s)
        if first == 0:
            return self
        return self.part(slice(first, None)) if first < len(self.times_s) else None

    def part(self, frames: slice) -> Clip:
        """These frames of the clip."""
        return dataclasses.replace(
            self,
            frames=self.frames[frames],
            times_s=self.times_s[frames],
            previews=self.previews[frames],
            lost_before=self.lost_before[frames],
        )
