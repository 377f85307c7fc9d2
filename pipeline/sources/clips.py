"""The unit of ingest: a short run of sampled frames with their times."""

from __future__ import annotations

import bisect
import dataclasses
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """Sampled frames of one camera in order of time, ready for the device.

    frames: uint8 RGB [F, S, S, 3], reduced to the model's square.
    times_s: Unix time of each frame, strictly increasing.
    previews: a small image of each frame for people to look at, uint8 RGB [h, w, 3].
    received_s: Unix time at which the newest frame was decoded.
    """

    camera: str
    frames: Tensor
    times_s: tuple[float, ...]
    previews: tuple[Tensor, ...]
    received_s: float

    def after(self, time_s: float) -> Clip | None:
        """The part of the clip that is later than `time_s`, None if there is none."""
        first = bisect.bisect_right(self.times_s, time_s)
        if first == 0:
            return self
        return self.part(slice(first, None)) if first < len(self.times_s) else None

    def part(self, frames: slice) -> Clip:
        """These frames of the clip."""
        return dataclasses.replace(
            self, frames=self.frames[frames], times_s=self.times_s[frames], previews=self.previews[frames]
        )
