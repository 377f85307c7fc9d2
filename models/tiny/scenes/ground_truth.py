"""The true answers to questions, from the event log of a scene alone: one rule for each type of question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.tiny.scenes.visits import Visit

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
ANSWER_WORDS = ("yes", "no", "none", "nothing", "and", "left", "middle", "right", *NUMBERS)

Window = tuple[float, float]  # seconds, start and end

_THIRDS_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class QuestionSubject:
    """What a question is about: its type, and the kinds and colour in it."""

    type: str
    kind: str = ""
    colour: str = ""
    other: str = ""

    @property
    def thing(self) -> str:
        return f"{self.colour} {self.kind}".strip()

    def matches(self, visit: Visit) -> bool:
        return visit.kind == self.kind and self.colour in ("", visit.colour)


@dataclass(frozen=True, slots=True)
class EventLog:
    """What has happened up to a time. visits: those that have entered, in order of entry."""

    visits: tuple[Visit, ...]
    now_s: float

    @property
    def present(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.is_in_view(self.now_s)]

    @property
    def departed(self) -> list[Visit]:
        return sorted((visit for visit in self.visits if visit.leave_s <= self.now_s), key=lambda visit: visit.leave_s)

    def first_of(self, kind: str) -> Visit | None:
        return next((visit for visit in self.visits if visit.kind == kind), None)

    def evidence_of(self, *visits: Visit) -> tuple[Window, ...]:
        """When each of the visits was visible."""
        spans = [visit.visible_s for visit in visits]
        return tuple((max(0.0, start_s), min(end_s, self.now_s)) for start_s, end_s in spans)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """A true answer. evidence: when a frame proves it, empty for no, none and numbers; is_clear: safe to ask."""

    answer: str
    evidence: tuple[Window, ...] = ()
    is_clear: bool = True


def _in_view(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    present = log.present
    if not present:
        return GroundTruth("nothing")
    entries = [visit.enter_s for visit in present]
    is_clear = len(present) <= 2 and all(b - a >= order_s for a, b in pairwise(entries))
    return GroundTruth(" and ".join(visit.name for visit in present), ((entries[-1], log.now_s),), is_clear)


def _colour_now(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    matching = [visit for visit in log.present if subject.matches(visit)]
    if len(matching) > 1:
        return None
    return GroundTruth(matching[0].colour, log.evidence_of(matching[0])) if matching else GroundTruth("none")


def _where(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    matching = [visit for visit in log.present if subject.matches(visit)]
    if len(matching) != 1:
        return None
    x = matching[0].centre(log.now_s)[0]
    side = "left" if x < 1 / 3 else "middle" if x < 2 / 3 else "right"
    is_clear = min(abs(x - 1 / 3), abs(x - 2 / 3)) >= _THIRDS_MARGIN
    return GroundTruth(side, ((max(matching[0].enter_s, log.now_s - 0.5), log.now_s),), is_clear)


def _yes_or_no(subject: QuestionSubject, log: EventLog, visits: Sequence[Visit]) -> GroundTruth:
    matching = [visit for visit in visits if subject.matches(visit)]
    return GroundTruth("yes", log.evidence_of(*matching)) if matching else GroundTruth("no")


def _is_there(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _yes_or_no(subject, log, log.present)


def _appeared(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _yes_or_no(subject, log, log.visits)


def _count_now(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return GroundTruth(NUMBERS[len(log.present)]) if len(log.present) < len(NUMBERS) else None


def _count_past(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    count = sum(subject.matches(visit) for visit in log.visits)
    return GroundTruth(NUMBERS[count]) if count < len(NUMBERS) else None


def _first(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    if not log.visits:
        return None
    is_clear = len(log.visits) < 2 or log.visits[1].enter_s - log.visits[0].enter_s >= order_s
    return GroundTruth(log.visits[0].name, log.evidence_of(log.visits[0]), is_clear)


def _last_in(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _latest(log, log.visits, "enter_s", order_s)


def _last_out(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    return _latest(log, log.departed, "leave_s", order_s) or GroundTruth("nothing")


def _latest(log: EventLog, visits: Sequence[Visit], moment: str, order_s: float) -> GroundTruth | None:
    if not visits:
        return None
    is_clear = len(visits) < 2 or getattr(visits[-1], moment) - getattr(visits[-2], moment) >= order_s
    return GroundTruth(visits[-1].name, log.evidence_of(visits[-1]), is_clear)


def _colour_past(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    matching = [visit for visit in log.visits if subject.matches(visit)]
    if not matching:
        return GroundTruth("none")
    is_clear = len(matching) < 2 or matching[-1].enter_s - matching[-2].enter_s >= order_s
    return GroundTruth(matching[-1].colour, log.evidence_of(matching[-1]), is_clear)


def _which_first(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    one, other = log.first_of(subject.kind), log.first_of(subject.other)
    if one is None or other is None or subject.kind == subject.other:
        return None
    earlier = min(one, other, key=lambda visit: visit.enter_s)
    return GroundTruth(earlier.kind, log.evidence_of(one, other), abs(one.enter_s - other.enter_s) >= order_s)


def _before(subject: QuestionSubject, log: EventLog, order_s: float) -> GroundTruth | None:
    earlier = _which_first(subject, log, order_s)
    if earlier is None:
        return None
    is_before = earlier.answer == subject.kind
    return GroundTruth("yes" if is_before else "no", earlier.evidence if is_before else (), earlier.is_clear)


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
