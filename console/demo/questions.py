"""Which questions the demo asks, and their true answers. Knows the event logs of the scenes, not the memories."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from dataclasses import dataclass

from models.tiny.scenes import questions
from models.tiny.scenes.questions import TYPES, Question
from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visits import Visit

# An answer must stay true for this long before and after the moment of asking: frames are sampled, clips are waited
# for, and the memory is as old as its newest clip.
_STABLE_BEFORE_S = 3.0
# What is in view is in the newest frame itself.
_IN_VIEW_STABLE_BEFORE_S = 1.5
_STABLE_AFTER_S = 1.5
_STEP_S = 0.25
FIRST_TYPE = "in_view"
PAST_TYPES = frozenset(
    {"first", "last_in", "last_out", "appeared", "colour_past", "count_past", "before", "which_first"}
)
PRESENT_TYPES = frozenset(TYPES) - PAST_TYPES
_DULL_ANSWERS = frozenset({"nothing", "none", "zero"})


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A question worth asking now."""

    type: str
    text: str

    @property
    def is_about_the_past(self) -> bool:
        """Whether its answer may lie outside the current view."""
        return self.type in PAST_TYPES


class QuestionPicker:
    """Picks questions so that many types are asked."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._num_asked: Counter[str] = Counter()

    def pick(
        self, scene: Scene, now_s: float, types: frozenset[str], *, first_s: float = 0.0, tolerance: int
    ) -> DemoQuestion | None:
        """A question of these types that is well defined at `now_s` of a scene, None if there is none worth asking.

        types: all of the past or all of the present; first_s: the second of the scene that the camera's first frame
        shows; tolerance: how dull the question may be, 0 for a type not asked yet with an answer that says something.
        """
        visits = _visits(scene, now_s + _STABLE_AFTER_S + 1.0, first_s, is_past=types <= PAST_TYPES)
        candidates = [
            question
            for question in questions.questions_at(visits, now_s, self._random)
            if question.type in types and _is_stable(scene, question, now_s, first_s)
        ]
        dullness = {question: self._dullness(question) for question in candidates}
        best = min(candidates, key=lambda question: dullness[question], default=None)
        if best is None or dullness[best][0] > tolerance:
            return None
        self._num_asked[best.type] += 1
        return DemoQuestion(best.type, best.text)

    def _dullness(self, question: Question) -> tuple[int, float]:
        """How often its type was asked, plus one for an answer that says little or that a reader must think about.

        Ties are broken at random.
        """
        is_hard = question.type == FIRST_TYPE and " and " in question.answer
        return self._num_asked[question.type] + (question.answer in _DULL_ANSWERS or is_hard), self._random.random()


def truth(scene: Scene, question: DemoQuestion, at_s: float, *, first_s: float = 0.0) -> str | None:
    """The true answer at a second of a scene, None if the question has none then. `first_s`: as in `pick`."""
    visits = _visits(scene, at_s, first_s, is_past=question.is_about_the_past)
    return questions.answer_at(question.text, visits, at_s)


def _visits(scene: Scene, until_s: float, first_s: float, *, is_past: bool) -> list[Visit]:
    """The visits that the camera can have seen.

    Those that were in view at its first frame came at the same time, as far as it can know. Questions about the
    present need their true entry, which says where they are.
    """
    visits = [visit for visit in scene.visits(until_s) if visit.leave_s > first_s]
    if not is_past:
        return visits
    return [dataclasses.replace(visit, enter_s=max(visit.enter_s, first_s)) for visit in visits]


def _is_stable(scene: Scene, question: Question, now_s: float, first_s: float) -> bool:
    before_s = _IN_VIEW_STABLE_BEFORE_S if question.type == FIRST_TYPE else _STABLE_BEFORE_S
    steps = range(int((before_s + _STABLE_AFTER_S) / _STEP_S) + 1)
    moments = [now_s - before_s + step * _STEP_S for step in steps]
    demo_question = DemoQuestion(question.type, question.text)
    return all(
        truth(scene, demo_question, moment, first_s=first_s) == question.answer
        for moment in moments
        if moment >= first_s
    )
