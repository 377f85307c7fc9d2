"""The clips of one camera that wait for the device, and where its frames go on."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from pipeline.sources.clips import Clip
from pipeline.sources.frame_times import RisingTimes


@dataclass(slots=True)
class CameraClips:
    """What a ClipQueue knows of one camera, under the lock of the queue.

    taken_s, claimed_s: the times of the newest clip that was taken and not claimed, and of the newest one that was.
    dropped: frames that were lost; dropped_before: how many of them when its clips began to be held back, None while
    they are not. after_s: frames up to this time are left out. times: what dates the later ones, None where they keep
    their own times.
    """

    waiting: deque[Clip] = field(default_factory=deque)
    taken_s: tuple[float, ...] = ()
    claimed_s: tuple[float, ...] = ()
    dropped: int = 0
    dropped_before: int | None = None
    after_s: float = -math.inf
    times: RisingTimes | None = None
    newest_s: float | None = None
    period_s: float = 0.0

    @property
    def is_held_back(self) -> bool:
        return self.dropped_before is not None

    def dated(self, clip: Clip) -> Clip | None:
        """The clip with the times that it gets; None if all of it is left out."""
        if self.times is None:
            return clip
        later = clip.after(self.after_s)
        return None if later is None else self.times.date(later)
