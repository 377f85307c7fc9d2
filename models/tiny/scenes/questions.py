"""Questions about a scene and their true answers, both from its event log alone.

A question is well defined when no event that it depends on is too close to the time of the question.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.tiny.scenes.ground_truth import ANSWERS, EventLog, QuestionSubject, Window
from models.tiny.scenes.visits import COLOURS, KINDS, Visit

PLURALS = {
    "person": "persons", "car": "cars", "bike": "bikes", "dog": "dogs", "box": "boxes", "truck": "trucks",
}  # fmt: skip

# The first wording of each type is the usual one. The others occur in training only.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "in_view": ("what is in view", "what is in view now", "what do you see", "what can you see now"),
    "colour_now": ("what colour is the {kind}", "what colour is the {kind} now"),
    "where": ("where is the {kind}", "where is the {kind} now"),
    "is_there": (
        "is there a {thing}",
        "is there a {thing} now",
        "is there a {thing} in view",
        "is a {thing} in view",
    ),
    "count_now": ("how many are in view", "how many are in view now", "how many things are in view"),
    "first": ("what came first", "what entered first", "what was first"),
    "last_in": ("what came last", "what entered last"),
    "last_out": ("what left last", "what was the last to leave"),
    "appeared": (
        "has a {thing} appeared",
        "did a {thing} appear",
        "has there been a {thing}",
        "have you seen a {thing}",
    ),
    "colour_past": ("what colour was the last {kind}", "what colour was the {kind}"),
    "count_past": ("how many {kinds} so far", "how many {kinds} have there been", "how many {kinds} came"),
    "before": ("did the {kind} come before the {other}", "did a {kind} come before a {other}"),
    "which_first": (
        "which came first the {kind} or the {other}",
        "what came first the {kind} or the {other}",
        "which came first a {kind} or a {other}",
    ),
}
TYPES = tuple(TEMPLATES)
YES_NO_TYPES = ("is_there", "appeared", "before")

_GUARD_S = 0.3
_ORDER_S = 0.6
_QUIET_SHARE = 0.35  # of the times with nothing in view, where most answers would be nothing, none and no


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its true answer, and the times in which a frame proves it: none for no, counts and the like."""

    type: str
    text: str
    answer: str
    evidence: tuple[Window, ...] = ()


def questions_at(
    visits: Sequence[Visit],
    now_s: float,
    rng: random.Random,
    *,
    order_s: float = _ORDER_S,
    has_paraphrases: bool = False,
) -> list[Question]:
    """Questions of every type that is well defined at `now_s`, at most one of each type.

    Empty within 0.3 s of an entry or exit, so `visits` must include those of the next second. No question asks the
    order of events closer than `order_s`. Yes and no are equally likely where both are possible.
    """
    if any(abs(moment - now_s) < _GUARD_S for visit in visits for moment in (visit.enter_s, visit.leave_s)):
        return []
    log = EventLog(tuple(visit for visit in visits if visit.enter_s <= now_s), now_s)
    questions = []
    for subject in dict.fromkeys(_proposals(log, rng)):
        truth = ANSWERS[subject.type](subject, log, order_s)
        if truth is not None and truth.is_clear:
            questions.append(
                Question(subject.type, _wording(subject, rng, has_paraphrases), truth.answer, truth.evidence)
            )
    return questions


def answer_at(text: str, visits: Sequence[Visit], now_s: float) -> str | None:
    """The true answer to a question in any of the wordings of TEMPLATES; None where the log has no single answer."""
    subject = _parse(text)
    if subject is None:
        return None
    log = EventLog(tuple(visit for visit in visits if visit.enter_s <= now_s), now_s)
    truth = ANSWERS[subject.type](subject, log, 0.0)
    return truth.answer if truth is not None else None


def _wording(subject: QuestionSubject, rng: random.Random, has_paraphrases: bool) -> str:
    texts = TEMPLATES[subject.type]
    template = rng.choice(texts) if has_paraphrases and rng.random() < 0.35 else texts[0]
    plural = PLURALS.get(subject.kind, "")
    return template.format(kind=subject.kind, kinds=plural, other=subject.other, thing=subject.thing)


def _compile(template: str) -> re.Pattern[str]:
    kind, colour, plural = "|".join(KINDS), "|".join(COLOURS), "|".join(PLURALS.values())
    pattern = template.replace("{thing}", rf"(?:(?P<colour>{colour}) )?(?P<kind>{kind})")
    pattern = pattern.replace("{kind}", rf"(?P<kind>{kind})").replace("{kinds}", rf"(?P<kinds>{plural})")
    return re.compile(pattern.replace("{other}", rf"(?P<other>{kind})"))


_PATTERNS = [(type_, _compile(template)) for type_, texts in TEMPLATES.items() for template in texts]
_SINGULARS = {plural: kind for kind, plural in PLURALS.items()}


def _parse(text: str) -> QuestionSubject | None:
    plain = re.sub(r"[^\w\s]", " ", text.lower().replace("'s ", " is "))
    plain = " ".join(plain.replace("color", "colour").replace("people", "persons").split())
    for type_, pattern in _PATTERNS:
        if match := pattern.fullmatch(plain):
            named = {name: value or "" for name, value in match.groupdict().items()}
            kind = named.get("kind") or _SINGULARS.get(named.get("kinds", ""), "")
            return QuestionSubject(type_, kind, named.get("colour", ""), named.get("other", ""))
    return None


def _proposals(log: EventLog, rng: random.Random) -> Iterable[QuestionSubject]:
    yield from (QuestionSubject(type_) for type_ in ("count_now", "first", "last_in", "last_out"))
    for type_, likely, share in (
        ("colour_past", log.visits, 0.85),
        ("count_past", log.visits, 0.8),
        ("where", log.present, 1.0),
    ):
        yield QuestionSubject(type_, _kind_of_one(likely, share, rng))
    if log.present or rng.random() < _QUIET_SHARE:
        yield QuestionSubject("in_view")
        yield QuestionSubject("colour_now", _kind_of_one(log.present, 0.85, rng))
        yield _balanced("is_there", log.present, log.visits, rng)
    yield _balanced("appeared", log.visits, log.visits, rng)
    kinds = list(dict.fromkeys(visit.kind for visit in log.visits))
    if len(kinds) >= 2:
        for type_ in ("before", "which_first"):
            kind, other = rng.sample(kinds, 2)
            yield QuestionSubject(type_, kind, other=other)


def _kind_of_one(visits: Sequence[Visit], share: float, rng: random.Random) -> str:
    """With probability `share` the kind of one of these visits, else any kind."""
    return rng.choice(visits).kind if visits and rng.random() < share else rng.choice(KINDS)


def _balanced(type_: str, true_of: Sequence[Visit], near: Sequence[Visit], rng: random.Random) -> QuestionSubject:
    """A subject that matches one of `true_of` or, equally often, one that matches none but resembles `near`."""
    has_colour = rng.random() < 0.5
    if true_of and rng.random() < 0.5:
        visit = rng.choice(true_of)
        return QuestionSubject(type_, visit.kind, visit.colour if has_colour else "")
    for _ in range(12):
        visit = rng.choice(near) if near else Visit(rng.choice(KINDS), rng.choice(COLOURS), 0, 0)
        kind = visit.kind if rng.random() < 0.6 else rng.choice(KINDS)
        colour = visit.colour if rng.random() < 0.6 else rng.choice(COLOURS)
        subject = QuestionSubject(type_, kind, colour if has_colour else "")
        if not any(subject.matches(other) for other in true_of):
            return subject
    return subject
