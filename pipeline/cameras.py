"""A camera as the operator sees it: what was asked for, and how it is doing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pipeline import answers

CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class CameraError(Exception):
    """Root of what is wrong with a camera: InvalidCamera, SourceError and its kinds, TooManyCameras."""


class InvalidCamera(CameraError):
    """The name or the URL cannot be one of a camera's."""


class TooManyCameras(CameraError):
    """Every slot of the shard is taken."""


class CameraExists(CameraError):
    """Another camera has this name already."""


class SourceError(CameraError):
    """The source cannot be read: SourceUnreachable, SourceInvalid."""


class SourceUnreachable(SourceError):
    """Nothing answers there now; trying again may help."""


class SourceInvalid(SourceError):
    """It is no video, or one that nothing here can decode; trying again would not help."""


class CameraState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    ENDED = "ended"
    FAILED = "failed"
    RECOVERING = "recovering"


class Pace(StrEnum):
    LIVE = "live"
    FAST = "fast"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """What was asked for. `url` may hold credentials: show `pipeline.urls.redacted(url)` instead.

    gate: whether what does not change in the picture is left unread (`pipeline/gate.py`).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    url: str
    pace: Pace = Pace.LIVE
    gate: bool = True

    def __post_init__(self) -> None:
        if not CAMERA_NAME.fullmatch(self.name):
            raise InvalidCamera(
                f"camera name {self.name[:80]!r}: use 1 to 63 letters, digits, '.', '_' or '-', "
                "the first a letter or digit"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatus:
    """One camera's memory in numbers; token counts are summed over all layers, but for those read since start-up."""

    frames_seen: int = 0
    frames_dropped: int = 0
    tokens_read: int = 0  # of frames, by one layer
    compressions: int = 0
    prefix_tokens: int = 0
    summary_tier_tokens: int = 0
    recent_window_tokens: int = 0
    nbytes: int = 0
    thumbnails: int = 0
    thumbnail_nbytes: int = 0
    next_position: int = 0
    oldest_s: float | None = None
    newest_s: float | None = None
    checkpointed_s: float | None = None
    gaps: tuple[answers.Gap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """How a camera is doing; `url` is redacted, `detail` says why it is in this state, `epoch` which owner told it."""

    name: str
    url: str
    state: CameraState
    detail: str = ""
    memory: MemoryStatus = MemoryStatus()
    epoch: int = 0
