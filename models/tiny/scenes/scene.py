"""An endless street in front of one camera, drawn from its log of visits. Everything follows from the seed."""

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.backdrop import paint_backdrop
from models.tiny.scenes.sensor import Sensor
from models.tiny.scenes.sprites import Look, paste
from models.tiny.scenes.visit_schedule import VisitSchedule
from models.tiny.scenes.visits import LANE_SCALE, MAX_EDGE_S, Visit

_MAX_VISIT_S = 40.0


class Scene:
    """The street of one seed. Frames are drawn from the visits, never the reverse.

    mean_gap_s: mean quiet time between entries; one gap in ten is long. burst: visitors that come close together,
    followed by as much quiet time as they would have had between them. switch_every_s: mean time between the lamps
    going off and on, None for never. Raises ValueError for a value out of range.
    """

    def __init__(
        self, seed: int, *, mean_gap_s: float = 6.0, burst: int = 1, switch_every_s: float | None = None
    ) -> None:
        if mean_gap_s <= 0:
            raise ValueError(f"mean_gap_s is {mean_gap_s} (above 0)")
        if burst < 1:
            raise ValueError(f"burst is {burst} (at least 1)")
        if switch_every_s is not None and switch_every_s <= 0:
            raise ValueError(f"switch_every_s is {switch_every_s} (above 0)")
        self.seed = seed
        self._schedule = VisitSchedule(seed, mean_gap_s, burst)
        self._backdrops: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._sensor = Sensor(seed, switch_every_s)

    def visits(self, until_s: float) -> list[Visit]:
        """Every visit that has started by `until_s`, in order of entry: the event log."""
        self._schedule.extend(until_s)
        return self._schedule.visits[: bisect_right(self._schedule.entries, until_s)]

    def visible(self, at_s: float) -> list[Visit]:
        """Every visit with some part inside the frame, farthest first."""
        self._schedule.extend(at_s + MAX_EDGE_S)
        entries = self._schedule.entries
        span = slice(bisect_left(entries, at_s - _MAX_VISIT_S), bisect_right(entries, at_s + MAX_EDGE_S))
        near = [visit for visit in self._schedule.visits[span] if visit.leave_s + MAX_EDGE_S > at_s]
        in_frame = [visit for visit in near if visit.box(at_s)[0] < 1 and visit.box(at_s)[2] > 0]
        return sorted(in_frame, key=lambda visit: visit.path.lane)

    def frame(self, at_s: float, width: int, height: int) -> NDArray[np.uint8]:
        """The camera's image at that time, RGB. [H, W, 3]"""
        canvas = self._backdrop(width, height).copy()
        for visit in self.visible(at_s):
            look = Look(visit.kind, visit.colour, visit.is_facing_left(at_s), visit.pose(at_s))
            left, top, _, _ = visit.box(at_s)
            paste(canvas, look, left=left, top=top, scale=LANE_SCALE[visit.path.lane])
        return self._sensor.expose(canvas, at_s)

    def _backdrop(self, width: int, height: int) -> NDArray[np.float32]:
        if (width, height) not in self._backdrops:
            self._backdrops[width, height] = paint_backdrop(self.seed, width, height)
        return self._backdrops[width, height]
