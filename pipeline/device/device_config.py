"""The limits of one device: cameras, questions and answers. Loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from cache_store.row_format import RowFormat

_MOST = 1_000_000


class WhenFull(StrEnum):
    REFUSE = "refuse"
    LOWER_RATES = "lower_rates"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """The limits of one device. Every number must be above 0, and at most 1,000,000. Raises ValueError.

    max_cameras: cameras of one device; each has a memory slot of its own, allocated at start.
    max_running_questions: questions that are answered at the same time; each has a slot for its own tokens.
    max_memory_copies: copies of memories that running answers read; answers that begin before a memory changes share
        its copy.
    slot_rows: format of keys and values in the cameras' slots: exact, or int8, which is half as large in bfloat16;
        answers read exact copies of them, and recurrent states stay exact.
    max_waiting_questions: questions that wait for a slot; one more is refused with TOO_MANY_QUESTIONS.
    max_question_chars: longest question, in characters.
    max_question_tokens: longest question, in tokens, the prompt around it included.
    max_answer_tokens: longest answer, in tokens; a request may ask for fewer.
    max_frames_per_step: frames of a clip that are appended to a memory in one forward pass.
    max_tokens_per_pass: tokens that one forward pass reads of several cameras or questions together; what has more by
        itself runs alone. More is faster in all; the next question waits for the end of the pass.
    max_queued_clips: clips that wait per camera; the oldest is dropped for a newer one.
    gap_after_s: longest time between two frames that is no gap, in seconds.
    key_frame_every_s: longest time between two whole frames of a camera that skips unchanged patches, in seconds.
    max_ingest_share: share of the device's time that the frames of all its cameras may take at their rates, at most 1.
        What a frame takes is measured at start, and then follows what ingest really takes.
    when_full: what becomes of a new camera whose frames are beyond that share; `refuse`: DEVICE_FULL refuses it;
        `lower_rates`: it is taken, and of every camera as many frames are left out as are beyond it.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_cameras: int = 16
    max_running_questions: int = 32
    max_memory_copies: int = 4
    slot_rows: RowFormat = RowFormat.EXACT
    max_waiting_questions: int = 64
    max_question_chars: int = 2_000
    max_question_tokens: int = 256
    max_answer_tokens: int = 64
    max_frames_per_step: int = 8
    max_tokens_per_pass: int = 2_048
    max_queued_clips: int = 4
    gap_after_s: float = 3.0
    key_frame_every_s: float = 30.0
    max_ingest_share: float = 0.8
    when_full: WhenFull = WhenFull.REFUSE

    @property
    def answer_reserve(self) -> int:
        """Tokens of the longest question and its answer."""
        return self.max_question_tokens + self.max_answer_tokens

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, most = getattr(self, field.name), 1 if field.name == "max_ingest_share" else _MOST
            if not isinstance(value, StrEnum) and not 0 < value <= most:
                raise ValueError(f"shards.device.{field.name} is {value}: it must be above 0, and at most {most:,}")
