"""What a shard and its ingest workers say to each other: JSON of bounded size, and pixels or video files behind it.

What a worker says may come from whoever took over its decoder. So every number is finite and in a range, every text and
list has a limit, nothing unknown is passed over, and the sizes must add up.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from cache_store.gap import GapReason
from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec, CameraState, SourceReason
from pipeline.network.tls import TlsRules
from pipeline.picture_note import PictureNote
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.probe import ProbeResult
from pipeline.workers.errors import MalformedMessage
from pipeline.workers.message_fields import Handle, Message, Side
from pipeline.workers.segment_messages import CompressedSegment, SegmentDecoded

MAX_FRAMES = 64  # of a clip, as ingest.frames_per_clip says
MAX_HEADER_NBYTES, MAX_BODY_NBYTES = 64 << 10, 256 << 20
MAX_ORDER_NBYTES = 8 << 20  # an order names every video folder
MAX_TEXT, MAX_FIELDS = 4_000, 32

_Time = Annotated[float, Field(ge=-1e10, le=1e11)]  # a calendar has no year for much less
_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_MAX_MEASURED = 1e9  # of what a test measures
_LOST = frozenset({"", *GapReason})


class ClipHeader(Message):
    """A clip; its frames and then its previews are the body. can_wait: the source waits for the device."""

    kind: Literal["clip"] = "clip"
    camera: Handle
    height: Side
    width: Side
    times_s: Annotated[tuple[_Time, ...], Field(min_length=1, max_length=MAX_FRAMES)]
    previews: Annotated[tuple[tuple[Side, Side], ...], Field(max_length=MAX_FRAMES)]
    received_s: _Time
    period_s: Annotated[float, Field(ge=0, le=1e6)]
    lost_before: Annotated[tuple[_Text, ...], Field(max_length=MAX_FRAMES)] = ()
    has_repeated_times: bool = False
    can_wait: bool

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if len(self.previews) != len(self.times_s) or len(self.lost_before) not in (0, len(self.times_s)):
            raise ValueError(f"{len(self.times_s)} frames, {len(self.previews)} previews")
        if not _LOST.issuperset(self.lost_before):
            raise ValueError("frames lost for an unknown reason")
        if any(later <= earlier for earlier, later in pairwise(self.times_s)):
            raise ValueError("times that do not increase")
        return self

    @property
    def frames_nbytes(self) -> int:
        return 3 * len(self.times_s) * self.height * self.width

    @property
    def nbytes(self) -> int:
        """Of the body."""
        return self.frames_nbytes + sum(3 * height * width for height, width in self.previews)


class StateChanged(Message):
    """A camera's source came into a state."""

    kind: Literal["state"] = "state"
    camera: Handle
    state: CameraState
    detail: _Text = ""
    reason: SourceReason | None = None
    note: PictureNote | None = None


class FramesLost(Message):
    """Sampled frames of a camera were lost."""

    kind: Literal["lost"] = "lost"
    camera: Handle
    frames: Annotated[int, Field(ge=0, le=1_000_000)]


class CameraClosed(Message):
    """Nothing of this camera follows: its connections are closed."""

    kind: Literal["closed"] = "closed"
    camera: Handle


class Logged(Message):
    """An event for the log of the shard."""

    kind: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"]
    event: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    fields: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], bool | int | float | _Text | None],
        Field(max_length=MAX_FIELDS),
    ]


class Alive(Message):
    """The answer to a ping; the first one says that the worker has started."""

    kind: Literal["alive"] = "alive"


class UrlProbed(Message):
    """What a URL gives."""

    model_config = ConfigDict(str_max_length=MAX_TEXT)
    kind: Literal["probed"] = "probed"
    result: ProbeResult

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if (video := self.result.video) is not None:
            rates = (video.declared_fps, video.measured_fps, video.key_frame_interval_s or 0.0, video.first_frame_ms)
            sides = (video.width, video.height)
            if not all(0 <= number <= _MAX_MEASURED for number in (*rates, *sides)):
                raise ValueError("a video with impossible numbers")
        return self


class Begin(Message):
    """The first order: below which folders, beside those of the system, a worker may read."""

    kind: Literal["begin"] = "begin"
    folders: tuple[Path, ...]


class OpenCamera(Message):
    """Watch a camera. See CameraFeed for the times. gpu: compute capability of the one that decodes in the shard."""

    kind: Literal["open"] = "open"
    camera: Handle
    camera_id: str
    spec: CameraSpec
    config: IngestConfig
    fit: FrameFit
    resume_from_s: float | None
    started_s: float
    rate_share: float = 1.0
    gpu: tuple[int, int] | None = None


class LimitRate(Message):
    """Sample a camera at this share of its rate; see CameraFeed.limit_rate."""

    kind: Literal["limit"] = "limit"
    camera: Handle
    share: float


class CloseCamera(Message):
    """Close a camera's connections."""

    kind: Literal["close"] = "close"
    camera: Handle


class Taken(Message):
    """The shard took one clip of this camera: another one may be sent. has_lost: older frames were lost for it."""

    kind: Literal["taken"] = "taken"
    camera: Handle
    has_lost: bool = False


class Ping(Message):
    """Answer this."""

    kind: Literal["ping"] = "ping"


class ProbeUrl(Message):
    """Say what a URL gives; see probe_url."""

    kind: Literal["probe"] = "probe"
    url: str
    config: IngestConfig
    tls: TlsRules


Report = ClipHeader | CompressedSegment | StateChanged | FramesLost | CameraClosed | Logged | Alive | UrlProbed
Order = Begin | OpenCamera | LimitRate | CloseCamera | Taken | SegmentDecoded | Ping | ProbeUrl
_REPORT_TYPES: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])
_ORDER_TYPES: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="kind")])


def encode(message: Report | Order) -> bytes:
    """The message's header."""
    return message.model_dump_json().encode()


def parse_report(header: bytes, body: bytes | bytearray) -> Report:
    """What a worker said. Raises MalformedMessage."""
    try:
        report = _REPORT_TYPES.validate_json(header)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise MalformedMessage(f"{where}: {first['msg'][:200]}") from None
    nbytes = report.nbytes if isinstance(report, ClipHeader | CompressedSegment) else 0
    if len(body) != nbytes:
        raise MalformedMessage(f"{report.kind}: {len(body)} bytes behind it (expected {nbytes})")
    return report


def parse_order(header: bytes) -> Order:
    """What the shard wants."""
    return _ORDER_TYPES.validate_json(header)
