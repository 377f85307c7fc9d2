"""Which visitors come to a street and when: the event log of a scene, generated from a seed."""

import random

from models.tiny.scenes.visits import COLOURS, KINDS, MAX_EDGE_S, Path, Visit, is_hidden

MAX_IN_VIEW = 3
MIN_ORDER_S = 0.8  # two entries, or two exits, are never closer

_LANES = {"car": (1, 2), "truck": (1, 2)}
_SPEED = {
    "person": 0.22,
    "car": 0.42,
    "bike": 0.34,
    "dog": 0.28,
    "box": 0.20,
    "truck": 0.32,
}  # frame widths a second
_REPEAT_SHARE = 0.35  # of the visitors that are of the kind of an earlier one
_STOP_SHARE = 0.75
_STOPS = ((0.12, 0.31), (0.36, 0.64), (0.69, 0.88))  # left, middle and right of the frame
_LONG_GAP_SHARE = 0.1
_BURST_GAP_S = 0.6


class VisitSchedule:
    """Generates visits in order of entry from one random generator, as far as `extend` is called for.

    mean_gap_s: mean quiet time between entries; burst: visitors that come close together. visits: the log so far;
    entries: the times of entry, for bisection.
    """

    def __init__(self, seed: int, mean_gap_s: float, burst: int) -> None:
        self._random = random.Random(seed)
        self._mean_gap_s = mean_gap_s
        self._burst = burst
        self.visits: list[Visit] = []
        self.entries: list[float] = []

    def extend(self, until_s: float) -> None:
        """Generates visits until one enters after `until_s`."""
        while not self.entries or self.entries[-1] <= until_s:
            visit = self._next_visit()
            self.visits.append(visit)
            self.entries.append(visit.enter_s)

    def _next_visit(self) -> Visit:
        earliest_s = (self.entries[-1] + MIN_ORDER_S if self.entries else 0.3) + self._gap_s()
        recent = self.visits[-8:]
        kind, colour = self._visitor([visit for visit in recent if visit.leave_s + 2 * MAX_EDGE_S > earliest_s])
        path = self._path(kind)
        stay_s = self._random.uniform(1.0, 7.0) if self._random.random() < _STOP_SHARE else 0.0
        enter_s, lane = self._entry(earliest_s, kind, recent)
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
        """A kind and a colour that no visitor in view has together."""
        in_view = {(visit.kind, visit.colour) for visit in present}
        while True:
            kind, colour = self._random.choice(KINDS), self._random.choice(COLOURS)
            if self.visits and self._random.random() < _REPEAT_SHARE:
                earlier = self._random.choice(self.visits[-12:])
                kind = earlier.kind
                colour = earlier.colour if self._random.random() < 0.5 else colour
            if (kind, colour) not in in_view:
                return kind, colour

    def _path(self, kind: str) -> Path:
        rng = self._random
        speed = _SPEED[kind] * rng.uniform(0.8, 1.25)
        from_left = rng.random() < 0.5
        to_left = from_left if rng.random() < 0.3 else not from_left
        stop = rng.uniform(*rng.choice(_STOPS))
        distance_in, distance_out = (stop if from_left else 1 - stop), (stop if to_left else 1 - stop)
        return Path(from_left, to_left, stop, max(0.6, distance_in / speed), max(0.6, distance_out / speed))

    def _entry(self, earliest_s: float, kind: str, recent: list[Visit]) -> tuple[float, int]:
        """The first time from `earliest_s` on, and a lane, at which no visitor hides another."""
        lanes = list(_LANES.get(kind, (0, 1, 2)))
        self._random.shuffle(lanes)
        enter_s = earliest_s
        while True:
            present = [visit for visit in recent if visit.leave_s + 2 * MAX_EDGE_S > enter_s]
            for lane in lanes:
                is_blocked = any(
                    is_hidden((kind, lane), (visit.kind, visit.path.lane))
                    or is_hidden((visit.kind, visit.path.lane), (kind, lane))
                    for visit in present
                )
                if not is_blocked and len(present) < MAX_IN_VIEW:
                    return enter_s, lane
            enter_s = min(visit.leave_s for visit in present) + 2 * MAX_EDGE_S + 1e-3
