"""The true answers, worked out from the event log of a scene alone: one rule for each type of question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.tiny.scenes.scene import Visit

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
ANSWER_WORDS = ("yes", "no", "none", "nothing", "and", "left", "middle", "right", *NUMBERS)

Window = tuple[float, float]  # seconds, from and until

_THIRDS_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class QuestionSubject:
    """What a text asks for."""

    type: str
    kind: str = ""
    colour: str = ""
    other: str = ""

    @property
    def thing(self) -> str:
        return f"{self.colour} {self.kind}".strip()

    def is_meant(self, visit: Visit) -> bool:
        return visit.kind == self.kind and self.colour in ("", visit.colour)


@dataclass(frozen=True, slots=True)
class EventLog:
    """What has happened by now."""

    visits: tuple[Visit, ...]  # entered by now, by entry
    now_s: float

    @property
    def present(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.is_in_view(self.now_s)]

    @property
    def gone(self) -> list[Visit]:
        return sorted((visit for visit in self.visits if visit.leave_s <= self.now_s), key=lambda visit: visit.leave_s)

    def first_of(self, kind: str) -> Visit | None:
        return next((visit for visit in self.visits if visit.kind == kind), None)

    def seen(self, *visits: Visit) -> tuple[Window, ...]:
        """When each of them was to be seen."""
        spans = [visit.seen_s for visit in visits]
        return tuple((max(0.0, start_s), min(end_s, self.now_s)) for start_s, end_s in spans)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """witness: when a picture shows what the answer rests on; nothing for no, none, and numbers."""

    answer: str
    witness: tuple[Window, ...] = ()
    is_clear: bool = True


def _in_view(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    present = log.present
    if not present:
        return GroundTruth("nothing")
    entries = [visit.enter_s for visit in present]
    is_clear = len(present) <= 2 and all(b - a >= order_s for a, b in pairwise(entries))
    return GroundTruth(" and ".join(visit.name for visit in present), ((entries[-1], log.now_s),), is_clear)


def _colour_now(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    meant = [visit for visit in log.present if asked.is_meant(visit)]
    if len(meant) > 1:
        return None
    return GroundTruth(meant[0].colour, log.seen(meant[0])) if meant else GroundTruth("none")


def _where(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    meant = [visit for visit in log.present if asked.is_meant(visit)]
    if len(meant) != 1:
        return None
    x = meant[0].centre(log.now_s)[0]
    side = "left" if x < 1 / 3 else "middle" if x < 2 / 3 else "right"
    is_clear = min(abs(x - 1 / 3), abs(x - 2 / 3)) >= _THIRDS_MARGIN
    return GroundTruth(side, ((max(meant[0].enter_s, log.now_s - 0.5), log.now_s),), is_clear)


def _yes_or_no(asked: QuestionSubject, log: EventLog, visits: Sequence[Visit]) -> GroundTruth:
    meant = [visit for visit in visits if asked.is_meant(visit)]
    return GroundTruth("yes", log.seen(*meant)) if meant else GroundTruth("no")


def _is_there(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _yes_or_no(asked, log, log.present)


def _appeared(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _yes_or_no(asked, log, log.visits)


def _count_now(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return GroundTruth(NUMBERS[len(log.present)]) if len(log.present) < len(NUMBERS) else None


def _count_past(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    count = sum(asked.is_meant(visit) for visit in log.visits)
    return GroundTruth(NUMBERS[count]) if count < len(NUMBERS) else None


def _first(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    if not log.visits:
        return None
    is_clear = len(log.visits) < 2 or log.visits[1].enter_s - log.visits[0].enter_s >= order_s
    return GroundTruth(log.visits[0].name, log.seen(log.visits[0]), is_clear)


def _last_in(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _latest(log, log.visits, "enter_s", order_s)


def _last_out(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _latest(log, log.gone, "leave_s", order_s) or GroundTruth("nothing")


def _latest(log: EventLog, visits: Sequence[Visit], moment: str, order_s: float) -> GroundTruth | None:
    if not visits:
        return None
    is_clear = len(visits) < 2 or getattr(visits[-1], moment) - getattr(visits[-2], moment) >= order_s
    return GroundTruth(visits[-1].name, log.seen(visits[-1]), is_clear)


def _colour_past(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    meant = [visit for visit in log.visits if asked.is_meant(visit)]
    if not meant:
        return GroundTruth("none")
    is_clear = len(meant) < 2 or meant[-1].enter_s - meant[-2].enter_s >= order_s
    return GroundTruth(meant[-1].colour, log.seen(meant[-1]), is_clear)


def _which_first(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    one, other = log.first_of(asked.kind), log.first_of(asked.other)
    if one is None or other is None or asked.kind == asked.other:
        return None
    earlier = min(one, other, key=lambda visit: visit.enter_s)
    return GroundTruth(earlier.kind, log.seen(one, other), abs(one.enter_s - other.enter_s) >= order_s)


def _before(asked: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    earlier = _which_first(asked, log, order_s)
    if earlier is None:
        return None
    is_before = earlier.answer == asked.kind
    return GroundTruth("yes" if is_before else "no", earlier.witness if is_before else (), earlier.is_clear)


ANSWERS: dict[str, Callable[[QuestionSubject, EventLog, float], GroundTruth | None]] = {
    "in_view": _in_view,
    "colour_now": _colour_now,
    "where": _where,
    "is_there": _is_there,
    "count_now": _count_now,
    "first": _first,
    "last_in": _last_in,
    "last_out": _last_out,
    "appeared": _appeared,
    "colour_past": _colour_past,
    "count_past": _count_past,
    "before": _before,
    "which_first": _which_first,
}
