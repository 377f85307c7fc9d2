"""The events of an answer, and why a question can fail. Knows no transport."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cache_store.gap import Gap


class QuestionError(Exception):
    """Root of why a question can fail: InvalidQuestion, Overloaded, AnswerFailed, UnknownCamera."""


class InvalidQuestion(QuestionError):
    """The text is empty or longer than the limit."""


class Overloaded(QuestionError):
    """The queue of questions is full; a retry may help."""


class AnswerFailed(QuestionError):
    """The answer was aborted: the device failed, the camera was removed or the shard is closing."""


class UnknownCamera(QuestionError):
    """No camera here has that name."""


class WarningCode(StrEnum):
    UNKNOWN_WORDS = "unknown_words"


@dataclass(frozen=True, slots=True)
class AnswerWarning:
    """A reason to doubt the answer. words: those of the question that it is about."""

    code: WarningCode
    message: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The question runs on a copy of the memory.

    memory_as_of_s: time of the newest frame seen. gaps: times that the memory misses. epoch: the lease epoch of the
    shard that answers; 0 without leases.
    """

    answer_id: str
    camera: str
    memory_as_of_s: float
    gaps: tuple[Gap, ...] = ()
    warnings: tuple[AnswerWarning, ...] = ()
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """Text to append to the answer. index: number of the token that completed it, from 0."""

    text: str
    index: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A moment that the answer rests on. weight: its share of the answer's attention on frames, 0..1."""

    time_s: float
    weight: float
    thumbnail_jpeg: bytes = b""


class FinishReason(StrEnum):
    END = "end"
    MAX_TOKENS = "max_tokens"


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer. answer: the whole text. Token counts include the prompt and the end token."""

    finish_reason: FinishReason
    answer: str
    question_tokens: int
    answer_tokens: int
    time_to_first_token_ms: float


AnswerEvent = Started | Token | Evidence | Done
