"""A camera as the operator sees it: what was asked for, and how it is doing."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pipeline import answers

CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class CameraError(Exception):
    """Root of what is wrong with a camera: InvalidCamera, SourceError and its kinds, CameraExists, TooMany…"""


class InvalidCamera(CameraError):
    """The name or the URL cannot be one of a camera's."""


class InvalidMask(InvalidCamera):
    """A polygon that hides nothing, or is partly outside of the picture."""


class TooManyCameras(CameraError):
    """Every slot of the shard is taken."""


class TooManyTests(CameraError):
    """As many URLs are being tested as may be at a time."""


class CameraExists(CameraError):
    """Another camera has this name already."""


class SourceReason(StrEnum):
    """Why a source cannot be read, for programs; the message says it for people."""

    UNKNOWN = "unknown"
    NO_ADDRESS = "no_address"  # its host's name leads nowhere
    ADDRESS_REFUSED = "address_refused"  # where cameras may not be, by the configuration or by nature
    FILE_REFUSED = "file_refused"
    NO_FILE = "no_file"
    CONNECTION_REFUSED = "connection_refused"
    NO_ANSWER = "no_answer"  # in time, or no way there
    TLS = "tls"  # its certificate, mostly
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REDIRECTED = "redirected"
    SERVER_ERROR = "server_error"
    NOT_VIDEO = "not_video"
    AUDIO_ONLY = "audio_only"
    NO_PICTURES = "no_pictures"  # none that could be decoded
    NO_DECODER = "no_decoder"
    NO_KEY_FRAME = "no_key_frame"
    TOO_LARGE = "too_large"
    BROKE_OFF = "broke_off"


class SourceError(CameraError):
    """The source cannot be read: SourceUnreachable, SourceInvalid."""

    def __init__(self, message: str, reason: SourceReason = SourceReason.UNKNOWN) -> None:
        super().__init__(message)
        self.reason = reason


class SourceUnreachable(SourceError):
    """Nothing answers there now; trying again may help."""


class SourceInvalid(SourceError):
    """It is no video, or none that is decoded here, or it may not be looked at; trying again soon would not help."""


class CameraState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    BACKING_OFF = "backing_off"
    ENDED = "ended"
    FAILED = "failed"
    RECOVERING = "recovering"


class PlaybackSpeed(StrEnum):
    LIVE = "live"
    FAST = "fast"


Polygon = tuple[tuple[float, float], ...]  # corners, each across and down, in 0..1 of the upright picture
MAX_MASKS, MAX_CORNERS, LEAST_AREA = 32, 64, 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """What was asked for. `url` may hold credentials: show `pipeline.urls.redacted(url)` instead.

    masks: what is blacked out before anything sees it; gate: whether what does not change in the picture is left unread
    (`pipeline/device/change_gate.py`). Raises InvalidCamera, InvalidMask.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    url: str
    pace: PlaybackSpeed = PlaybackSpeed.LIVE
    masks: tuple[Polygon, ...] = ()
    gate: bool = True

    def __post_init__(self) -> None:
        if not CAMERA_NAME.fullmatch(self.name):
            raise InvalidCamera(
                f"camera name {self.name[:80]!r}: use 1 to 63 letters, digits, '.', '_' or '-', "
                "the first a letter or digit"
            )
        if len(self.masks) > MAX_MASKS:
            raise InvalidMask(f"camera {self.name!r}: {len(self.masks)} masks (limit {MAX_MASKS})")
        for index, polygon in enumerate(self.masks):
            if complaint := _complaint(polygon):
                raise InvalidMask(f"camera {self.name!r}: mask {index}: {complaint}")


def _complaint(polygon: Polygon) -> str:
    """What is wrong with a mask, empty if nothing is."""
    if not 3 <= len(polygon) <= MAX_CORNERS:
        return f"{len(polygon)} corners (at least 3, at most {MAX_CORNERS})"
    for corner in polygon:
        if not all(math.isfinite(value) and 0 <= value <= 1 for value in corner):
            return f"corner {list(corner)} lies outside of the picture (0 to 1 each way)"
    area = _area(polygon)
    return "" if area >= LEAST_AREA else f"its area is {area:.2g} of the picture (at least {LEAST_AREA:g})"


def _area(polygon: Polygon) -> float:
    edges = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in edges)) / 2


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
    """How a camera is doing.

    `url` is redacted, `epoch` says which owner told it, `masks` what is blacked out.
    detail, reason: why it is in this state, for people and, if its source is to blame, for programs.
    """

    name: str
    url: str
    state: CameraState
    detail: str = ""
    memory: MemoryStatus = MemoryStatus()
    epoch: int = 0
    reason: SourceReason | None = None
    masks: tuple[Polygon, ...] = ()
