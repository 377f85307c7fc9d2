"""The limits of one device: cameras, questions and answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """The bounds of one device."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_cameras: int = 16
    max_running_questions: int = 4  # each has a slot of its own
    max_waiting_questions: int = 64
    max_question_chars: int = 2_000
    max_question_tokens: int = 256
    max_answer_tokens: int = 64
    max_frames_per_step: int = 8
    max_queued_clips: int = 4  # per camera
    gap_after_s: float = 3.0
    key_frame_every_s: float = 30.0  # of a gated camera: so often a frame is read whole, changed or not

    def __post_init__(self) -> None:
        for limit in dataclasses.fields(self):
            if getattr(self, limit.name) <= 0:
                raise ValueError(f"shards.device.{limit.name} is {getattr(self, limit.name)} (more than 0)")
