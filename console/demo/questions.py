"""Which questions the demo asks, and what is true. Knows the scenes' event logs, not what the cameras remember."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from models.tiny.scenes import questions
from models.tiny.scenes.questions import Question
from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visits import Visit

# An answer must stay true for this long before and after the moment of asking: frames are sampled, clips are waited
# for, and the memory is as old as its newest clip.
_STABLE_BEFORE_S = 3.0
_STABLE_AFTER_S = 1.5
_STEP_S = 0.25
_ABOUT_THE_PAST = frozenset(
    {"first", "last_in", "last_out", "appeared", "colour_past", "count_past", "before", "which_first"}
)
_DULL = frozenset({"nothing", "none", "zero"})


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A question worth asking now."""

    type: str
    text: str

    @property
    def is_about_the_past(self) -> bool:
        """Whether its answer may lie outside what is in view."""
        return self.type in _ABOUT_THE_PAST


class QuestionPicker:
    """Picks questions so that many types are asked, the past as often as the present."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._asked: Counter[str] = Counter()

    def pick(self, seen: Scene, now_s: float, *, tolerance: int) -> DemoQuestion | None:
        """A question that is well defined at a moment of a scene, None if there is none that is worth it.

        tolerance: how dull it may be; 0 for a type that was not asked yet, with an answer that says something.
        """
        candidates = [
            question
            for question in questions.questions_at(_visits(seen, now_s), now_s, self._random)
            if _is_stable(seen, question.text, question.answer, now_s)
        ]
        disliked = {question: self._dislike(question) for question in candidates}
        best = min(candidates, key=lambda question: disliked[question], default=None)
        if best is None or disliked[best][0] > tolerance:
            return None
        self._asked[best.type] += 1
        return DemoQuestion(best.type, best.text)

    def _dislike(self, question: Question) -> tuple[int, bool, float]:
        """What speaks against a question: its type was asked, its answer is dull, the other tense is due."""
        past = sum(count for kind, count in self._asked.items() if kind in _ABOUT_THE_PAST)
        is_past_due = past * 2 <= self._asked.total()
        is_dull = question.answer in _DULL
        repeats = self._asked[question.type]
        is_untimely = (question.type in _ABOUT_THE_PAST) is not is_past_due
        return repeats + is_dull, is_untimely, self._random.random()


def truth(seen: Scene, text: str, at_s: float) -> str | None:
    """The true answer as of a moment of a scene."""
    return questions.answer_at(text, seen.visits(at_s), at_s)


def _visits(seen: Scene, now_s: float) -> Sequence[Visit]:
    return seen.visits(now_s + _STABLE_AFTER_S + 1.0)


def _is_stable(seen: Scene, text: str, answer: str, now_s: float) -> bool:
    steps = range(int((_STABLE_BEFORE_S + _STABLE_AFTER_S) / _STEP_S) + 1)
    moments = [now_s - _STABLE_BEFORE_S + step * _STEP_S for step in steps]
    return all(truth(seen, text, moment) == answer for moment in moments if moment >= 0)
