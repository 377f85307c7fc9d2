"""How often a camera's picture is noted wrongly, and how soon rightly: python -m benchmarks.picture_notes --help.

Normal: hours of streets in each kind of weather, light and traffic; every note is a false alarm. Faults: the picture is
covered, turned and so on after 15 minutes, for ten, by day and by night, and is well again. One picture a second: the
watch looks at no more.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks import picture_kinds, result_file
from benchmarks.picture_kinds import HEIGHT, NORMAL, WIDTH, Change, Fault
from models.tiny.scenes.scene import Scene
from pipeline.decoding.images import Pixels
from pipeline.picture_note import PictureNote
from pipeline.sources.picture_watch import PictureWatch

_FROM_S, _UNTIL_S, _END_S = 900, 1500, 1800  # of a fault
_LIGHTS: dict[str, Change] = {"day": picture_kinds.day, "night": picture_kinds.night}
_LOOKS = 500  # whose cost is measured


@dataclass(frozen=True, slots=True)
class Normal:
    """The false alarms of one kind. notes: how often each note began. noted_s: for how long one stood."""

    kind: str
    hours: float
    alarms: int
    notes: str
    noted_s: int


@dataclass(frozen=True, slots=True)
class Found:
    """Faults of one kind. ended: how many notes were gone when the picture was well for a minute."""

    kind: str
    light: str
    faults: int
    found: int
    delay_s: float | None
    longest_s: float | None
    ended: int


def main() -> None:
    """Measures, prints tables, and writes JSON on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="+", choices=("normal", "faults", "cost"), default=["normal", "faults", "cost"]
    )
    parser.add_argument("--seed", type=int, default=1, help="the first one; the limits were chosen with 1 to 3")
    parser.add_argument("--streets", type=int, default=3, help="of each part, each with a seed of its own")
    parser.add_argument("--hours", type=float, default=1.0, help="of each street in each kind of weather")
    result_file.add_option(parser)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.streets)
    normal = list(_normal(seeds, options.hours)) if "normal" in options.parts else []
    found = list(_found(seeds)) if "faults" in options.parts else []
    figures: dict[str, float] = {}
    if normal:
        print(_table(normal))
        figures["false_alarms_per_camera_hour"] = sum(row.alarms for row in normal) / sum(row.hours for row in normal)
    if found:
        print(_table(found))
        figures["found_share"] = sum(row.found for row in found) / sum(row.faults for row in found)
    if "cost" in options.parts:
        figures["us_per_picture"] = _us_per_picture()
    print(figures)
    result_file.write(options.json, figures, rows=[*normal, *found])


def _streets(seed: int) -> dict[str, Scene]:
    return {
        "ordinary": Scene(seed, mean_gap_s=4.0),
        "busy": Scene(seed, mean_gap_s=2.0),
        "calm": Scene(seed, mean_gap_s=30.0),
        "lamps": Scene(seed, mean_gap_s=4.0, switch_every_s=120.0),
    }


def _normal(seeds: Sequence[int], hours: float) -> Iterator[Normal]:
    kinds = [*_streets(0), *(kind for kind in NORMAL if kind != "day")]
    began: dict[str, list[PictureNote]] = {kind: [] for kind in kinds}
    noted_s = dict.fromkeys(kinds, 0)
    for seed in seeds:
        streets, watches = _streets(seed), {kind: PictureWatch() for kind in kinds}
        for at_s in range(round(3600 * hours)):
            drawn = {name: street.frame(at_s, WIDTH, HEIGHT) for name, street in streets.items()}
            for kind, watch in watches.items():
                before, rng = watch.note, picture_kinds.random_at(seed, kind, at_s)
                picture = drawn[kind] if kind in drawn else NORMAL[kind](drawn["ordinary"], at_s, rng)
                watch.look(picture, at_s)
                began[kind] += [watch.note] if watch.note and watch.note is not before else []
                noted_s[kind] += watch.note is not None
    for kind, notes in began.items():
        counts = ", ".join(f"{note} {notes.count(note)}" for note in PictureNote if note in notes)
        yield Normal(kind, round(len(seeds) * hours, 2), len(notes), counts or "none", noted_s[kind])


class _Case:
    """One camera with one fault."""

    def __init__(self, fault: Fault, watch: PictureWatch) -> None:
        self.delay_s: float | None = None
        self.ended = False
        self._fault, self._watch = fault, watch

    def look(self, picture: Pixels, at_s: int, rng: np.random.Generator) -> None:
        """The camera's next picture, before, during or after the fault."""
        has_fault = _FROM_S <= at_s < _UNTIL_S
        self._watch.look(self._fault.change(picture, at_s, rng) if has_fault else picture, at_s)
        if has_fault and self.delay_s is None and self._watch.note is self._fault.note:
            self.delay_s = at_s - _FROM_S
        self.ended = self.ended or (at_s == _UNTIL_S + 60 and self._watch.note is None)


def _found(seeds: Sequence[int]) -> Iterator[Found]:
    cases: dict[tuple[str, str], list[_Case]] = {}
    for seed in seeds:
        scene = Scene(seed, mean_gap_s=4.0)
        of_seed = {
            (kind, light): _Case(fault, PictureWatch())
            for light in _LIGHTS
            for kind, fault in picture_kinds.faults(seed).items()
        }
        for at_s in range(_UNTIL_S + 61):
            drawn = scene.frame(at_s, WIDTH, HEIGHT)
            lit = {
                light: change(drawn, at_s, picture_kinds.random_at(seed, light, at_s))
                for light, change in _LIGHTS.items()
            }
            for (kind, light), case in of_seed.items():
                case.look(lit[light], at_s, picture_kinds.random_at(seed, kind, at_s))
        for kind_and_light, case in of_seed.items():
            cases.setdefault(kind_and_light, []).append(case)
    for (kind, light), of_kind in cases.items():
        delays = [case.delay_s for case in of_kind if case.delay_s is not None]
        median_s, longest_s = (statistics.median(delays), max(delays)) if delays else (None, None)
        ended = sum(case.ended for case in of_kind if case.delay_s is not None)
        yield Found(kind, light, len(of_kind), len(delays), median_s, longest_s, ended)


def _us_per_picture() -> float:
    """Processor time of one look at a picture, in microseconds."""
    scene, watch = Scene(1, mean_gap_s=4.0), PictureWatch()
    pictures = [scene.frame(at_s, WIDTH, HEIGHT) for at_s in range(50)]
    spent_s = 0.0
    for at_s in range(700 + _LOOKS):
        began_s = time.thread_time()
        watch.look(pictures[at_s % len(pictures)], at_s)
        spent_s += (time.thread_time() - began_s) if at_s >= 700 else 0.0  # the scene is known then
    return round(1e6 * spent_s / _LOOKS, 1)


def _table(rows: Sequence[Normal] | Sequence[Found]) -> str:
    first = asdict(rows[0])
    lines = [f"| {' | '.join(first)} |", "|---" * len(first) + "|"]
    return "\n".join(lines + [f"| {' | '.join(map(str, asdict(row).values()))} |" for row in rows])


if __name__ == "__main__":
    main()
