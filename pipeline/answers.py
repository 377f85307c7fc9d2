"""The events of an answer, and why a question can fail. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cache_store.gap import Gap
from pipeline.cameras import CameraState
from pipeline.picture_note import PictureNote


class QuestionError(Exception):
    """Root of why a question can fail.

    QuestionError
    ├── InvalidQuestion  the text is empty or longer than the limit
    ├── Overloaded       the queue of questions is full; a retry may help
    ├── AnswerFailed     the answer was aborted
    ├── QuestionExpired  its deadline passed before its answer ended
    ├── UnknownCamera    no camera has that name
    └── NoFrames         the camera has never given a frame and gives none
        └── NoFramesYet  the camera may give its first frame soon; a retry may help
    """


class InvalidQuestion(QuestionError):
    """The text is empty or longer than the limit."""


class Overloaded(QuestionError):
    """The queue of questions is full; a retry may help."""


class AnswerFailed(QuestionError):
    """The answer was aborted: the device failed, the camera was removed or the shard is closing."""


class QuestionExpired(QuestionError):
    """The question's deadline passed before its answer ended."""


class UnknownCamera(QuestionError):
    """No camera here has that name."""


class NoFrames(QuestionError):
    """The camera has never given a frame, so there is nothing to answer from."""


class NoFramesYet(NoFrames):
    """The camera has not given its first frame yet; a retry may help."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and how long the answer may take in all. client: clients that wait have turns.

    timeout_s: a question whose time is over ends with QuestionExpired; None without a limit.
    """

    client: str = ""
    timeout_s: float | None = None

    def after(self, waited_s: float) -> Caller:
        """The same caller, that long later."""
        return self if self.timeout_s is None else Caller(self.client, max(0.0, self.timeout_s - waited_s))


ANYBODY = Caller()


class WarningCode(StrEnum):
    UNKNOWN_WORDS = "unknown_words"
    NOT_LIVE = "not_live"  # the camera gives no video now
    MODEL_LIMITED = "model_limited"  # the model was not made for what the camera shows


@dataclass(frozen=True, slots=True)
class AnswerWarning:
    """A reason to doubt the answer. words: those of the question that it is about."""

    code: WarningCode
    message: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PictureWarning:
    """The camera is live, and its picture is a reason to doubt the answer."""

    note: PictureNote
    message: str


@dataclass(frozen=True, slots=True)
class Started:
    """The question runs on a copy of the memory.

    memory_as_of_s: time of the newest frame seen. gaps: times that the memory misses. epoch: the lease epoch of the
    shard that answers; 0 without leases. camera_id, camera_state, state_since_s, picture: set by the shard; the engine
    knows neither a camera's identity nor its source.
    """

    answer_id: str
    camera: str
    memory_as_of_s: float
    gaps: tuple[Gap, ...] = ()
    warnings: tuple[AnswerWarning, ...] = ()
    epoch: int = 0
    camera_id: str = ""
    camera_state: CameraState | None = None
    state_since_s: float | None = None
    picture: PictureWarning | None = None


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
    """The end of an answer. answer: the whole text. Token counts include the prompt and the end token.

    warnings, picture: those that Started did not have. camera_id, camera_state, state_since_s: as in Started, at the
    end.
    """

    finish_reason: FinishReason
    answer: str
    question_tokens: int
    answer_tokens: int
    time_to_first_token_ms: float
    warnings: tuple[AnswerWarning, ...] = ()
    camera_id: str = ""
    camera_state: CameraState | None = None
    state_since_s: float | None = None
    picture: PictureWarning | None = None


AnswerEvent = Started | Token | Evidence | Done
OnEvent = Callable[[AnswerEvent | QuestionError], None]
