"""One appearance of one visitor in a street: where it is, which way it faces, and when any part of it is in view."""

from dataclasses import dataclass, field

from models.tiny.scenes.drawings import SIZES
from models.tiny.scenes.sprites import FRAME_SIZE

KINDS = ("person", "car", "bike", "dog", "box", "truck")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
MAX_EDGE_S = 1.0  # a visitor is partly in view at most this long before it enters and after it leaves
LANE_SCALE = (0.85, 0.95, 1.05)  # pavement, far lane, near lane

_LANE_GROUND = (0.555, 0.765, 0.965)  # of the height


@dataclass(frozen=True, slots=True)
class Path:
    """How a visitor moves: in from an edge, to a stop, out at an edge."""

    from_left: bool = True
    to_left: bool = False
    stop: float = 0.5  # fraction of the width
    arrive_s: float = 1.0
    depart_s: float = 1.0
    lane: int = 1


@dataclass(frozen=True, slots=True)
class Visit:
    """One appearance of one visitor, from its centre entering the frame until its centre leaving it."""

    kind: str
    colour: str
    enter_s: float
    leave_s: float
    path: Path = field(default_factory=Path, repr=False)

    @property
    def name(self) -> str:
        """Colour and kind, as in an answer: red car."""
        return f"{self.colour} {self.kind}"

    def is_in_view(self, at_s: float) -> bool:
        """Whether the centre is inside the frame."""
        return self.enter_s <= at_s < self.leave_s

    @property
    def visible_s(self) -> tuple[float, float]:
        """Start and end of the time in which any part is inside the frame; it starts before the centre enters."""
        path, half_width = self.path, _extent(self.kind, self.path.lane)[0]
        distance_in = path.stop if path.from_left else 1 - path.stop
        distance_out = path.stop if path.to_left else 1 - path.stop
        edge_speed = 2 if self._has_stop else 1
        before_s = half_width / distance_in * path.arrive_s / edge_speed
        after_s = half_width / distance_out * path.depart_s / edge_speed
        return self.enter_s - min(before_s, MAX_EDGE_S), self.leave_s + min(after_s, MAX_EDGE_S)

    def centre(self, at_s: float) -> tuple[float, float]:
        """The centre as fractions of the frame from left and top; outside 0..1 before and after the visit."""
        left, top, right, bottom = self.box(at_s)
        return (left + right) / 2, (top + bottom) / 2

    def box(self, at_s: float) -> tuple[float, float, float, float]:
        """Left, top, right, bottom as fractions of the frame; parts may lie outside 0..1."""
        half_width, height = _extent(self.kind, self.path.lane)
        x, ground = self._x(at_s), _LANE_GROUND[self.path.lane]
        return x - half_width, ground - height, x + half_width, ground

    def is_facing_left(self, at_s: float) -> bool:
        """The direction in which it arrives, or departs once it is past its stop."""
        return self.path.to_left if self._is_past_stop(at_s) else not self.path.from_left

    def pose(self, at_s: float) -> int:
        """The sprite's pose: 0 standing, 1 or 2 for two strides that alternate with the distance."""
        arrived, departs = self.enter_s + self.path.arrive_s, self.leave_s - self.path.depart_s
        if arrived <= at_s < departs:
            return 0
        return 1 + int(self._x(at_s) * 24) % 2

    def _is_past_stop(self, at_s: float) -> bool:
        return at_s >= max(self.leave_s - self.path.depart_s, self.enter_s + self.path.arrive_s)

    def _x(self, at_s: float) -> float:
        path = self.path
        if self._is_past_stop(at_s):
            time_share, duration_s, is_left = (self.leave_s - at_s) / path.depart_s, path.depart_s, path.to_left
        else:
            time_share, duration_s, is_left = (at_s - self.enter_s) / path.arrive_s, path.arrive_s, path.from_left
        distance = path.stop if is_left else 1 - path.stop
        share = _braked(time_share) if self._has_stop else min(time_share, 1.0)
        from_edge = distance * share if duration_s > 0 else distance
        return from_edge if is_left else 1 - from_edge

    @property
    def _has_stop(self) -> bool:
        return self.leave_s - self.enter_s > self.path.arrive_s + self.path.depart_s + 1e-6


def _braked(time_share: float) -> float:
    """Share of the distance after a share of the time: double speed at the edge, slower towards the stop."""
    if time_share < 0:
        return 2 * time_share
    return 1.0 if time_share > 1 else 2 * time_share - time_share * time_share


def _extent(kind: str, lane: int) -> tuple[float, float]:
    """Half the width, and the height, as fractions of the frame."""
    width, height = SIZES[kind]
    scale = LANE_SCALE[lane]
    return scale * width / FRAME_SIZE[0] / 2, scale * height / FRAME_SIZE[1]


def is_hidden(back: tuple[str, int], front: tuple[str, int]) -> bool:
    """Whether a visitor in front covers more than half the height of one behind. Each is a kind and a lane."""
    (back_kind, back_lane), (front_kind, front_lane) = back, front
    if front_lane <= back_lane:
        return front_lane == back_lane
    back_height, front_height = _extent(back_kind, back_lane)[1], _extent(front_kind, front_lane)[1]
    covered = _LANE_GROUND[back_lane] - (_LANE_GROUND[front_lane] - front_height)
    return covered > back_height / 2
