"""A camera as the operator sees it: its specification, its status, and what can be wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from pipeline import camera_certificates
from pipeline.memory_status import MemoryStatus
from pipeline.picture_note import PictureNote

CAMERA_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class CameraError(Exception):
    """Root of what can be wrong with a camera.

    CameraError
    ├── InvalidCamera          the name or the URL is invalid
    │   └── InvalidMask        a mask is invalid
    ├── CameraExists           the name is taken
    ├── CameraChanged          another call changed the camera at the same moment
    ├── SourceChanged          the new URL is another source, and the memory may not be lost
    ├── TooManyCameras         no free memory slot
    │   └── DeviceFull         no time on the device for the camera's frames
    ├── TooManyTests           no free place for a test
    ├── CameraFailed           the device failed at the camera's work, or has stopped
    └── SourceError            the source cannot be read, for a SourceReason
        ├── SourceUnreachable  now; a retry may help
        └── SourceInvalid      a retry soon does not help
    """


class InvalidCamera(CameraError):
    """The name or the URL of a camera is invalid."""


class InvalidMask(InvalidCamera):
    """A mask is no polygon inside the image."""


class TooManyCameras(CameraError):
    """Every memory slot of the shard is taken."""


class DeviceFull(TooManyCameras):
    """The device has no time for the frames of one more camera at its rate."""


class TooManyTests(CameraError):
    """The limit of URLs that are tested at the same time is reached."""


class CameraFailed(CameraError):
    """The device failed at the camera's work, did not come to it in time, or has stopped. The work is not done."""


class CameraExists(CameraError):
    """Another camera has this name."""


class CameraChanged(CameraError):
    """Another call changed or removed the camera at the same moment; a retry helps."""


class SourceChanged(CameraError):
    """The new URL of a camera is another source, whose memory would be another one."""


class SourceReason(StrEnum):
    """Why a source cannot be read, for programs; the error message is for people."""

    UNKNOWN = "unknown"
    NO_ADDRESS = "no_address"  # the host name does not resolve
    ADDRESS_REFUSED = "address_refused"  # outside of the networks that cameras may be in
    FILE_REFUSED = "file_refused"
    NO_FILE = "no_file"
    CONNECTION_REFUSED = "connection_refused"
    NO_ANSWER = "no_answer"  # timeout, or no route
    TLS = "tls"  # mostly its certificate
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REDIRECTED = "redirected"
    SERVER_ERROR = "server_error"
    NOT_VIDEO = "not_video"
    AUDIO_ONLY = "audio_only"
    NO_PICTURES = "no_pictures"  # none could be decoded
    NO_DECODER = "no_decoder"
    NO_KEY_FRAME = "no_key_frame"
    TOO_LARGE = "too_large"
    BROKE_OFF = "broke_off"
    DECODER_CRASHED = "decoder_crashed"  # it ended the processes that decoded it


class SourceError(CameraError):
    """The source cannot be read, for a SourceReason: SourceUnreachable, SourceInvalid."""

    def __init__(self, message: str, reason: SourceReason = SourceReason.UNKNOWN) -> None:
        super().__init__(message)
        self.reason = reason


class SourceUnreachable(SourceError):
    """The source cannot be reached now; a retry may help."""


class SourceInvalid(SourceError):
    """The source is no video, cannot be decoded, or refuses access; a retry soon does not help."""


class CameraState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    BACKING_OFF = "backing_off"
    ENDED = "ended"
    FAILED = "failed"
    RECOVERING = "recovering"
    WAITING = "waiting"  # for a slot on a shard


class PlaybackSpeed(StrEnum):
    LIVE = "live"
    FAST = "fast"


Polygon = tuple[tuple[float, float], ...]  # corners (x, y) from the upper left, in 0..1 of the upright image
MAX_MASKS, MAX_CORNERS, MIN_AREA = 32, 64, 1e-6
MAX_LABELS, MAX_LABEL_VALUE = 16, 256
SHOWS_LABEL = "shows"  # whose value may say that a camera shows what a model was made for


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """A camera as it was configured or added. Raises InvalidCamera, InvalidMask.

    name: 1 to 63 letters, digits, '.', '_' or '-', the first a letter or digit; unique in the fleet.
    url: sim:SCENE, the path of a file, rtsp(s):// or http(s)://; credentials are never shown.
    pace: `live` plays a file or a scene at its own speed, from the moment on at which the camera was added; `fast` as
        fast as the device takes it, dated so that a file ends at that moment. No frame is given before its time.
    masks: polygons that are blacked out in every image before it is used; corners are [x, y], 0 to 1 of the image.
    gate: skip unchanged patches (default true).
    loop: play a recording again whenever it has ended, each round with new times; other sources do not take it.
    frames_per_second: frames sampled from this camera, per second; null: `ingest.sample_fps`.
    labels: at most 16 words about the camera for people and programs, each a key of the form of a name with a value.
    tls_certificate_sha256: SHA-256 of the only certificate that is accepted from this camera, 64 hex digits.
    tls_ca: certificates (PEM) of authorities that are trusted for this camera too; in a file, tls_ca_file names it.
    tls_name: what the camera's certificate must name; by default the host of the URL.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"frames_per_second": (0.01, 60)}

    name: str
    url: str
    pace: PlaybackSpeed = PlaybackSpeed.LIVE
    masks: tuple[Polygon, ...] = ()
    gate: bool = True
    loop: bool = False
    frames_per_second: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    tls_certificate_sha256: str = ""
    tls_ca: str = ""
    tls_name: str = ""

    def __post_init__(self) -> None:
        if not CAMERA_NAME_PATTERN.fullmatch(self.name):
            raise InvalidCamera(
                f"camera name {self.name[:80]!r}: use 1 to 63 letters, digits, '.', '_' or '-', "
                "the first a letter or digit"
            )
        if len(self.masks) > MAX_MASKS:
            raise InvalidMask(f"camera {self.name!r}: {len(self.masks)} masks (limit {MAX_MASKS})")
        for index, polygon in enumerate(self.masks):
            if problem := _mask_problem(polygon):
                raise InvalidMask(f"camera {self.name!r}: mask {index}: {problem}")
        low, high = self.RANGES["frames_per_second"]
        rate = self.frames_per_second
        if rate is not None and not low <= rate <= high:
            raise InvalidCamera(f"camera {self.name!r}: frames_per_second is {rate}: it must be {low} to {high}")
        certificate = (self.tls_certificate_sha256, self.tls_ca, self.tls_name)
        if problem := label_problem(self.labels) or camera_certificates.problem(*certificate):
            raise InvalidCamera(f"camera {self.name!r}: {problem}")


def _mask_problem(polygon: Polygon) -> str:
    """What is wrong with a mask, empty if it is valid."""
    if not 3 <= len(polygon) <= MAX_CORNERS:
        return f"{len(polygon)} corners (at least 3, at most {MAX_CORNERS})"
    for corner in polygon:
        if not all(math.isfinite(value) and 0 <= value <= 1 for value in corner):
            return f"corner {list(corner)} lies outside of the image (0 to 1 each way)"
    area = _area(polygon)
    return "" if area >= MIN_AREA else f"its area is {area:.2g} of the image (at least {MIN_AREA:g})"


def label_problem(labels: Mapping[str, str]) -> str:
    """What is wrong with the labels, empty if they are valid."""
    if len(labels) > MAX_LABELS:
        return f"{len(labels)} labels (limit {MAX_LABELS})"
    for key, value in labels.items():
        if not CAMERA_NAME_PATTERN.fullmatch(key):
            return (
                f"label {key[:80]!r}: a key has 1 to 63 letters, digits, '.', '_' or '-', the first a letter or digit"
            )
        if len(value) > MAX_LABEL_VALUE or not value.isprintable():
            return f"label {key!r}: a value of {len(value)} characters (at most {MAX_LABEL_VALUE}, all printable)"
    return ""


def _area(polygon: Polygon) -> float:
    edges = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in edges)) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """State of a camera as its owner reports it.

    url: redacted. epoch: the lease epoch of the owner that reports. masks: what is blacked out. detail: why the camera
    is in this state, for people. reason: the same for programs, where the source is the cause. note: what is wrong with
    the picture of a live camera. id: its identity.
    revision: of the spec that it is watched with. state_since_s: when it came into this state, in Unix seconds; None if
    unknown. lowered_fps: frames per second that are sampled, where these are fewer than its rate. source:
    `urls.source_digest` of the URL; started_s: second 0 of a file. Both are for the fleet alone.
    """

    name: str
    url: str
    state: CameraState
    detail: str = ""
    memory: MemoryStatus = field(default_factory=MemoryStatus)
    epoch: int = 0
    reason: SourceReason | None = None
    note: PictureNote | None = None
    masks: tuple[Polygon, ...] = ()
    id: str = ""
    revision: int = 0
    state_since_s: float | None = None
    lowered_fps: float | None = None
    source: str = ""
    started_s: float = 0.0
