"""A question to an engine, what its listener got, and what it must get."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline.answers import AnswerEvent, AnswerFailed, Done, Overloaded, QuestionError, QuestionExpired
from pipeline.device.question_request import QuestionRequest
from tests.pipeline.device.question_batches import Question
from tests.pipeline.device.reference_cameras import assert_equal_answers


@dataclass(eq=False, repr=False)
class QuestionRecord:
    """expected: the events of the same question alone. may_fail: its camera was removed or erased."""

    question: Question
    events: list[AnswerEvent | QuestionError] = field(default_factory=list)
    request: QuestionRequest | None = None
    expected: list[AnswerEvent | QuestionError] = field(default_factory=list)
    may_fail: bool = False

    @property
    def is_over(self) -> bool:
        is_cancelled = self.request is not None and self.request.is_cancelled
        return is_cancelled or (bool(self.events) and isinstance(self.events[-1], Done | QuestionError))

    def check_end(self, failed: Collection[str]) -> AnswerEvent | QuestionError | None:
        """Checks the last event, which is returned; None if the question runs or was cancelled.

        failed: ids of the answers that the engine reported as failed.
        """
        if not self.is_over or self.request is None or self.request.is_cancelled:
            return None
        end = self.events[-1]
        if isinstance(end, Done):
            assert_equal_answers(self.events, self.expected)
        elif isinstance(end, QuestionExpired):
            assert self.question.caller.timeout_s is not None
        elif isinstance(end, AnswerFailed):
            assert self.may_fail or self.request.id in failed
        else:
            assert isinstance(end, Overloaded), end
        return end
