"""What an ingest worker is told of a camera, and which of its messages a feed of that camera can cause."""

from __future__ import annotations

from dataclasses import dataclass

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec
from pipeline.decoding.decoders import StreamFormat
from pipeline.network import urls
from pipeline.network.urls import FileUrl
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers.errors import MalformedMessage
from pipeline.workers.messages import ClipHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedCamera:
    """The arguments of the CameraFeed that runs in a worker."""

    spec: CameraSpec
    config: IngestConfig
    fit: FrameFit
    camera_id: str
    resume_from_s: float | None
    started_s: float

    @property
    def is_file(self) -> bool:
        """Whether its source is a file."""
        return isinstance(urls.parse(self.spec.url), FileUrl)

    def require_possible(self, header: ClipHeader) -> None:
        """Raises MalformedMessage for a clip that no feed of this camera builds."""
        limit, width = self.config.frames_per_clip, self.config.thumbnail_width
        if len(header.times_s) > limit or any(wide > width for _, wide in header.previews):
            raise MalformedMessage(f"{len(header.times_s)} frames (limit {limit}), or a preview wider than {width}")
        if not self.fit.is_possible(header.width, header.height):
            raise MalformedMessage(f"frames of {header.width}x{header.height}, which the model does not read")

    def require_allowed(self, stream: StreamFormat) -> None:
        """Raises MalformedMessage for a stream that no feed of this camera decodes."""
        limits = self.config.max_width, self.config.max_height
        if stream.width > limits[0] or stream.height > limits[1]:
            raise MalformedMessage(f"video of {stream.width}x{stream.height} (limits {limits[0]}x{limits[1]})")
