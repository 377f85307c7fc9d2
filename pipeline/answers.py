"""What a question brings back, event by event, and why it may be refused. Knows no transport."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cache_store.checkpoint import Gap as Gap


class QuestionError(Exception):
    """Root of what a question can end in: InvalidQuestion, Overloaded, AnswerFailed, UnknownCamera."""


class InvalidQuestion(QuestionError):
    """The text is empty or longer than the limit."""


class Overloaded(QuestionError):
    """Every place in the queue of questions is taken; try again."""


class AnswerFailed(QuestionError):
    """The answer broke off: the device failed, the camera was removed or the shard is closing."""


class UnknownCamera(QuestionError):
    """No camera of that name lives here."""


class WarningCode(StrEnum):
    UNKNOWN_WORDS = "unknown_words"


@dataclass(frozen=True, slots=True)
class AnswerWarning:
    code: WarningCode
    message: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The question reads a copy of the memory; `memory_as_of_s` is the newest moment it can know of.

    epoch: as which of the camera's owners the shard speaks; 0 where nobody counts them.
    """

    answer_id: str
    camera: str
    memory_as_of_s: float
    gaps: tuple[Gap, ...] = ()
    warnings: tuple[AnswerWarning, ...] = ()
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """Text to append to the answer so far."""

    text: str
    index: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A moment that the answer rests on: its time, its share of the answer's attention, its picture."""

    time_s: float
    weight: float
    thumbnail_jpeg: bytes = b""


class FinishReason(StrEnum):
    END = "end"
    MAX_TOKENS = "max_tokens"


@dataclass(frozen=True, slots=True)
class Done:
    finish_reason: FinishReason
    answer: str
    question_tokens: int
    answer_tokens: int
    time_to_first_token_ms: float


AnswerEvent = Started | Token | Evidence | Done
