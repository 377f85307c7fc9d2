"""One question on its way through a device: its prompt, its listener, and whether it was cancelled."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from models.prompts import Prompts, QuestionPrompt
from pipeline.answers import (
    ANYBODY,
    AnswerWarning,
    Caller,
    InvalidQuestion,
    OnEvent,
    QuestionError,
    QuestionExpired,
    WarningCode,
)
from pipeline.device.failure_report import FailureReport, to_logging


@dataclass(slots=True, eq=False)
class QuestionRequest:
    """One question, from its arrival to its end. submitted_at: by the clock of the device's questions."""

    camera: str
    prompt: QuestionPrompt
    on_event: OnEvent
    max_answer_tokens: int
    submitted_at: float
    caller: Caller = ANYBODY
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_cancelled: bool = False
    report: FailureReport = to_logging

    @property
    def num_tokens(self) -> int:
        """Of its prefill, at most: one more may end the video."""
        return len(self.prompt.ids) + 1

    def cancel(self) -> None:
        """Stops the answer at its next step; no further event is sent. Any thread may call it.

        A question that waits gives its place in the queue up at once.
        """
        self.is_cancelled = True

    def has_expired(self, now_s: float) -> bool:
        """Whether its deadline has passed."""
        return self.caller.timeout_s is not None and now_s - self.submitted_at >= self.caller.timeout_s

    def expired(self) -> QuestionExpired:
        """How a question ends whose deadline passed."""
        limit_s = self.caller.timeout_s or 0.0
        return QuestionExpired(
            f"question to camera {self.camera!r}: not answered within {limit_s:.3g} s (its deadline)"
        )

    def end(self, error: QuestionError) -> None:
        """Ends the question, unless it was cancelled. A listener that fails at that takes nothing else along."""
        if self.is_cancelled:
            return
        try:
            self.on_event(error)
        except Exception as failure:  # noqa: BLE001 - the listener is of one client, the thread of all
            self.report("answer_listener_failed", camera=self.camera, answer_id=self.id, reason=str(failure))


def parse(text: str, prompts: Prompts, *, max_chars: int, max_tokens: int) -> QuestionPrompt:
    """The prompt of a question. Raises InvalidQuestion if it is empty, too long or no Unicode text."""
    stripped = text.strip()
    if not any(character.isprintable() for character in stripped):
        raise InvalidQuestion("question: empty (at least one word)")
    try:
        stripped.encode()
    except UnicodeEncodeError as error:
        raise InvalidQuestion(f"question: character {error.start + 1} is half of a surrogate pair") from error
    if len(stripped) > max_chars:
        raise InvalidQuestion(f"question {stripped[:40]!r}…: {len(stripped)} characters (limit {max_chars})")
    prompt = prompts.question(stripped)
    if len(prompt.ids) > max_tokens:
        raise InvalidQuestion(f"question {stripped[:40]!r}…: {len(prompt.ids)} tokens (limit {max_tokens})")
    if len(prompt.ids) == len(prompts.question("").ids):
        raise InvalidQuestion(f"question {stripped!r}: the model reads nothing in it (at least one word)")
    return prompt


def warnings(prompt: QuestionPrompt) -> tuple[AnswerWarning, ...]:
    """Reasons in the question itself to doubt its answer."""
    if not prompt.unknown_words:
        return ()
    words = ", ".join(repr(word) for word in prompt.unknown_words)
    return (
        AnswerWarning(
            WarningCode.UNKNOWN_WORDS,
            f"the model does not know {words}: the answer may be wrong",
            prompt.unknown_words,
        ),
    )
