"""An endless, deterministic street in front of one camera: who visits it when, and how it looks then.

Everything follows from the seed. The visits are the event log; frames are drawn from it, never the reverse.
"""

import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.backdrop import paint_backdrop
from models.tiny.scenes.drawings import SIZES
from models.tiny.scenes.sensor import Sensor
from models.tiny.scenes.sprites import FRAME_SIZE, Look, paste

KINDS = ("person", "car", "bike", "dog", "box", "truck")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
MAX_IN_VIEW = 3
MIN_ORDER_S = 0.8  # two entries, or two exits, are never closer

_LANE_GROUND = (0.555, 0.765, 0.965)  # pavement, far lane, near lane
_LANE_SCALE = (0.85, 0.95, 1.05)
_LANES = {"car": (1, 2), "truck": (1, 2)}
_SPEED = {
    "person": 0.22,
    "car": 0.42,
    "bike": 0.34,
    "dog": 0.28,
    "box": 0.20,
    "truck": 0.32,
}  # frame widths a second
_REPEAT_SHARE = 0.35
_STOP_SHARE = 0.75
_STOPS = ((0.12, 0.31), (0.36, 0.64), (0.69, 0.88))  # left, middle and right of the frame alike
_LONG_GAP_SHARE = 0.1
_BURST_GAP_S = 0.6
_EDGE_S = 1.0  # longest time that a visitor is partly seen before it enters or after it left
_LONGEST_VISIT_S = 40.0


@dataclass(frozen=True, slots=True)
class Path:
    """How a visitor moves: in from an edge, a stop, out at an edge."""

    from_left: bool = True
    to_left: bool = False
    stop: float = 0.5  # of the width
    arrive_s: float = 1.0
    depart_s: float = 1.0
    lane: int = 1


@dataclass(frozen=True, slots=True)
class Visit:
    """One appearance of one object, from its centre crossing an edge of the frame inwards until outwards."""

    kind: str
    colour: str
    enter_s: float
    leave_s: float
    path: Path = field(default_factory=Path, repr=False)

    @property
    def name(self) -> str:
        """Colour and kind, as an answer says it: red car."""
        return f"{self.colour} {self.kind}"

    def is_in_view(self, at_s: float) -> bool:
        """Whether the centre is inside the frame."""
        return self.enter_s <= at_s < self.leave_s

    @property
    def seen_s(self) -> tuple[float, float]:
        """From when until when any part of it is inside the frame, which begins before the centre enters."""
        path, half_w = self.path, _extent(self.kind, self.path.lane)[0]
        way_in = path.stop if path.from_left else 1 - path.stop
        way_out = path.stop if path.to_left else 1 - path.stop
        haste = 2 if self._is_braking else 1
        before_s = half_w / way_in * path.arrive_s / haste
        after_s = half_w / way_out * path.depart_s / haste
        return self.enter_s - min(before_s, _EDGE_S), self.leave_s + min(after_s, _EDGE_S)

    def centre(self, at_s: float) -> tuple[float, float]:
        """Where the centre is, 0..1 of the frame from left and top; beyond 0..1 before and after."""
        left, top, right, bottom = self.box(at_s)
        return (left + right) / 2, (top + bottom) / 2

    def box(self, at_s: float) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in fractions of the frame; may reach beyond it."""
        half_w, height = _extent(self.kind, self.path.lane)
        x, ground = self._x(at_s), _LANE_GROUND[self.path.lane]
        return x - half_w, ground - height, x + half_w, ground

    def is_facing_left(self, at_s: float) -> bool:
        """The direction of the coming or going, whichever applies."""
        return self.path.to_left if self._is_past_stop(at_s) else not self.path.from_left

    def pose(self, at_s: float) -> int:
        """Which of the sprite's poses is seen: standing, or one of two strides by the distance gone."""
        arrived, departs = self.enter_s + self.path.arrive_s, self.leave_s - self.path.depart_s
        if arrived <= at_s < departs:
            return 0
        return 1 + int(self._x(at_s) * 24) % 2

    def _is_past_stop(self, at_s: float) -> bool:
        return at_s >= max(self.leave_s - self.path.depart_s, self.enter_s + self.path.arrive_s)

    def _x(self, at_s: float) -> float:
        path = self.path
        if self._is_past_stop(at_s):
            gone, over, at_left = (self.leave_s - at_s) / path.depart_s, path.depart_s, path.to_left
        else:
            gone, over, at_left = (at_s - self.enter_s) / path.arrive_s, path.arrive_s, path.from_left
        way = path.stop if at_left else 1 - path.stop
        inside = way * (_brake(gone) if self._is_braking else min(gone, 1.0)) if over > 0 else way
        return inside if at_left else 1 - inside

    @property
    def _is_braking(self) -> bool:
        return self.leave_s - self.enter_s > self.path.arrive_s + self.path.depart_s + 1e-6


def _brake(share: float) -> float:
    """Way gone after a share of the time, at double speed first and slower towards the stop."""
    if share < 0:
        return 2 * share
    return 1.0 if share > 1 else 2 * share - share * share


def _extent(kind: str, lane: int) -> tuple[float, float]:
    """Half the width and the height, as fractions of the frame."""
    width, height = SIZES[kind]
    scale = _LANE_SCALE[lane]
    return scale * width / FRAME_SIZE[0] / 2, scale * height / FRAME_SIZE[1]


def _is_hidden(back: tuple[str, int], front: tuple[str, int]) -> bool:
    """Whether a visitor standing in front covers more than half the height of the one behind."""
    (back_kind, back_lane), (front_kind, front_lane) = back, front
    if front_lane <= back_lane:
        return front_lane == back_lane
    back_h, front_h = _extent(back_kind, back_lane)[1], _extent(front_kind, front_lane)[1]
    covered = _LANE_GROUND[back_lane] - (_LANE_GROUND[front_lane] - front_h)
    return covered > back_h / 2


class _Log:
    """Makes up visits in order of entry, from one random generator, as far as they are asked for."""

    def __init__(self, seed: int, mean_gap_s: float, burst: int) -> None:
        self._random = random.Random(seed)
        self._mean_gap_s = mean_gap_s
        self._burst = burst
        self.visits: list[Visit] = []
        self.entries: list[float] = []

    def extend(self, until_s: float) -> None:
        while not self.entries or self.entries[-1] <= until_s:
            visit = self._next_visit()
            self.visits.append(visit)
            self.entries.append(visit.enter_s)

    def _next_visit(self) -> Visit:
        earliest_s = (self.entries[-1] + MIN_ORDER_S if self.entries else 0.3) + self._gap_s()
        recent = self.visits[-8:]
        kind, colour = self._visitor([visit for visit in recent if visit.leave_s + 2 * _EDGE_S > earliest_s])
        path = self._path(kind)
        stay_s = self._random.uniform(1.0, 7.0) if self._random.random() < _STOP_SHARE else 0.0
        enter_s, lane = self._place(earliest_s, kind, recent)
        leave_s = enter_s + path.arrive_s + stay_s + path.depart_s
        while any(abs(leave_s - visit.leave_s) < MIN_ORDER_S for visit in recent):
            leave_s += MIN_ORDER_S
        return Visit(
            kind,
            colour,
            enter_s,
            leave_s,
            Path(path.from_left, path.to_left, path.stop, path.arrive_s, path.depart_s, lane),
        )

    def _gap_s(self) -> float:
        if len(self.visits) % self._burst:
            return self._random.expovariate(1 / _BURST_GAP_S)
        mean_s = self._mean_gap_s * self._burst
        if self._random.random() < _LONG_GAP_SHARE:
            return mean_s * self._random.uniform(2.5, 10)
        return self._random.expovariate(1 / (0.42 * mean_s))

    def _visitor(self, present: list[Visit]) -> tuple[str, str]:
        """A kind and a colour; no two of the same kind and colour meet."""
        taken = {(visit.kind, visit.colour) for visit in present}
        while True:
            kind, colour = self._random.choice(KINDS), self._random.choice(COLOURS)
            if self.visits and self._random.random() < _REPEAT_SHARE:
                earlier = self._random.choice(self.visits[-12:])
                kind = earlier.kind
                colour = earlier.colour if self._random.random() < 0.5 else colour
            if (kind, colour) not in taken:
                return kind, colour

    def _path(self, kind: str) -> Path:
        roll = self._random
        speed = _SPEED[kind] * roll.uniform(0.8, 1.25)
        from_left = roll.random() < 0.5
        to_left = from_left if roll.random() < 0.3 else not from_left
        stop = roll.uniform(*roll.choice(_STOPS))
        way_in, way_out = (stop if from_left else 1 - stop), (stop if to_left else 1 - stop)
        return Path(from_left, to_left, stop, max(0.6, way_in / speed), max(0.6, way_out / speed))

    def _place(self, earliest_s: float, kind: str, recent: list[Visit]) -> tuple[float, int]:
        """The first moment from `earliest_s` on, and a lane, where nobody hides or is hidden."""
        lanes = list(_LANES.get(kind, (0, 1, 2)))
        self._random.shuffle(lanes)
        enter_s = earliest_s
        while True:
            present = [visit for visit in recent if visit.leave_s + 2 * _EDGE_S > enter_s]
            for lane in lanes:
                clash = any(
                    _is_hidden((kind, lane), (visit.kind, visit.path.lane))
                    or _is_hidden((visit.kind, visit.path.lane), (kind, lane))
                    for visit in present
                )
                if not clash and len(present) < MAX_IN_VIEW:
                    return enter_s, lane
            enter_s = min(visit.leave_s for visit in present) + 2 * _EDGE_S + 1e-3


class Scene:
    """The street of one seed; `mean_gap_s` is the mean quiet time between entries, one gap in ten is long.

    burst: so many visitors come close on one another, then it is quiet for as long as they would have taken;
    switch_every_s: mean time between lamps going off and on, None for never.
    """

    def __init__(
        self, seed: int, *, mean_gap_s: float = 6.0, burst: int = 1, switch_every_s: float | None = None
    ) -> None:
        if mean_gap_s <= 0:
            raise ValueError(f"mean_gap_s {mean_gap_s}: must be positive")
        if burst < 1:
            raise ValueError(f"burst {burst}: at least 1")
        if switch_every_s is not None and switch_every_s <= 0:
            raise ValueError(f"switch_every_s {switch_every_s}: must be positive")
        self.seed = seed
        self._log = _Log(seed, mean_gap_s, burst)
        self._backdrops: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._sensor = Sensor(seed, switch_every_s)

    def visits(self, until_s: float) -> list[Visit]:
        """Every visit that has begun by `until_s`, in order of entry: the event log."""
        self._log.extend(until_s)
        return self._log.visits[: bisect_right(self._log.entries, until_s)]

    def visible(self, at_s: float) -> list[Visit]:
        """Every visit of which some part is inside the frame, farthest first."""
        self._log.extend(at_s + _EDGE_S)
        entries = self._log.entries
        span = slice(bisect_left(entries, at_s - _LONGEST_VISIT_S), bisect_right(entries, at_s + _EDGE_S))
        near = [visit for visit in self._log.visits[span] if visit.leave_s + _EDGE_S > at_s]
        seen = [visit for visit in near if visit.box(at_s)[0] < 1 and visit.box(at_s)[2] > 0]
        return sorted(seen, key=lambda visit: visit.path.lane)

    def frame(self, at_s: float, width: int, height: int) -> NDArray[np.uint8]:
        """What the camera sees at that moment, RGB. [H, W, 3]"""
        canvas = self._backdrop(width, height).copy()
        for visit in self.visible(at_s):
            look = Look(visit.kind, visit.colour, visit.is_facing_left(at_s), visit.pose(at_s))
            left, top, _, _ = visit.box(at_s)
            paste(canvas, look, left=left, top=top, scale=_LANE_SCALE[visit.path.lane])
        return self._sensor.expose(canvas, at_s)

    def _backdrop(self, width: int, height: int) -> NDArray[np.float32]:
        if (width, height) not in self._backdrops:
            self._backdrops[width, height] = paint_backdrop(self.seed, width, height)
        return self._backdrops[width, height]
