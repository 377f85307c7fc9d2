"""The configuration of ingest (`ingest` in the YAML): sampling, time limits, size limits, networks and folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from pipeline.cameras import CameraSpec
from pipeline.network import addresses
from pipeline.network.addresses import AddressRules, Network

MAX_WORKERS = 64
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """Sampling, time limits and size limits of ingest. Raises ValueError for a value out of range.

    sample_fps: frames sampled from each camera, per second, unless it says otherwise (`frames_per_second`).
    frames_per_clip: sampled frames in a full clip.
    max_clip_wait_s: seconds after which a clip that is not full is handed to the device too.
    max_segment_s: seconds of a live stream after which a longer group of pictures is cut and decoded.
    max_gop_s: seconds after a key frame beyond which the frames of its group are left out.
    max_gop_bytes: bytes of a group of pictures beyond which its frames are left out.
    max_lag_s: seconds after which a late frame of a live stream is dropped.
    stall_after_s: seconds without data after which a stream counts as stalled and is reconnected.
    open_timeout_s: seconds that connecting to a camera, or opening its stream, may take.
    refused_retry_s: seconds before a camera is tried again that refused the login, redirects or gives no video.
    first_retry_s: seconds before the first retry of a camera; doubles with each failure.
    last_retry_s: seconds between retries at most.
    max_fps: frames per second above which only a camera's key frames are decoded.
    max_key_wait_s: seconds that the first key frame of a live stream may take, and the next picture of a slow camera.
    max_width: pixels that a frame may be wide.
    max_height: pixels that a frame may be high.
    thumbnail_width: pixels that a thumbnail is wide at most.
    device: where video is decoded: auto, cpu or cuda; auto is the GPU if there is one. What a GPU cannot decode is
        decoded on the CPU.
    allowed_networks: networks (CIDR) that cameras may be in; the longest matching prefix wins.
    refused_networks: networks (CIDR) that cameras must not be in; the longest matching prefix wins.
    test_private_networks: whether `cameras test` reaches private networks that allowed_networks does not name; null:
        only where router.host is a loopback address.
    video_folders: absolute folders below which files may be cameras, or single files that may; without any, only the
        files that the configuration's own cameras name.
    workers: processes of each shard that read video, and decode what no GPU decodes; 0: threads of the shard itself,
        for debugging; auto: two to four.
    ca_file: file of CA certificates (PEM) that are trusted for rtsps and https beside the system's own.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "sample_fps": (0.01, 60),
        "frames_per_clip": (1, 64),
        "max_clip_wait_s": (0.05, 60),
        "max_segment_s": (0.1, 60),
        "max_gop_s": (1, 600),
        "max_gop_bytes": (1 << 16, 1 << 30),
        "max_lag_s": (0.5, 600),
        "stall_after_s": (0.5, 600),
        "open_timeout_s": (0.5, 600),
        "refused_retry_s": (1, 86_400),
        "first_retry_s": (0.1, 60),
        "last_retry_s": (0.1, 3600),
        "max_fps": (1, 1000),
        "max_key_wait_s": (1, 3600),
        "max_width": (16, 16384),
        "max_height": (16, 16384),
        "thumbnail_width": (16, 1920),
    }

    sample_fps: float = 2.0
    frames_per_clip: int = 4
    max_clip_wait_s: float = 1.0
    max_segment_s: float = 1.0
    max_gop_s: float = 30.0
    max_gop_bytes: int = 64 << 20
    max_lag_s: float = 4.0
    stall_after_s: float = 10.0
    open_timeout_s: float = 10.0
    refused_retry_s: float = 300.0
    first_retry_s: float = 0.5
    last_retry_s: float = 30.0
    max_fps: float = 130.0
    max_key_wait_s: float = 70.0
    max_width: int = 4096
    max_height: int = 4096
    thumbnail_width: int = 320
    device: str = "auto"
    allowed_networks: tuple[str, ...] = ()
    refused_networks: tuple[str, ...] = ()
    test_private_networks: bool | None = None
    video_folders: tuple[Path, ...] = ()
    workers: int | Literal["auto"] = "auto"
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in self.RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"ingest.{name} is {value}: it must be {low} to {high}")
        if self.first_retry_s > self.last_retry_s:
            raise ValueError(
                f"ingest.first_retry_s is {self.first_retry_s}: at most ingest.last_retry_s, {self.last_retry_s}"
            )
        if self.device not in DEVICES:
            raise ValueError(f"ingest.device is {self.device!r}: it must be one of {', '.join(DEVICES)}")
        if self.workers != "auto" and not 0 <= self.workers <= MAX_WORKERS:
            raise ValueError(f"ingest.workers is {self.workers}: it must be auto, or 0 to {MAX_WORKERS}")
        for folder in self.video_folders:
            if not folder.is_absolute():
                raise ValueError(f"ingest.video_folders: {str(folder)!r} is not absolute")
        _ = self.address_rules

    def for_camera(self, spec: CameraSpec) -> IngestConfig:
        """This configuration with the rate of one camera."""
        return self if spec.frames_per_second is None else replace(self, sample_fps=spec.frames_per_second)

    @property
    def readable_paths(self) -> tuple[Path, ...]:
        """Folders and files that cameras and their TLS may read."""
        return (*self.video_folders, *filter(None, [self.ca_file]))

    @property
    def address_rules(self) -> AddressRules:
        """Which addresses cameras may have."""
        return AddressRules(
            _networks("allowed_networks", self.allowed_networks), _networks("refused_networks", self.refused_networks)
        )

    def for_tests(self) -> IngestConfig:
        """The same limits for a URL that a caller only tests: without private networks, unless they are allowed."""
        if self.test_private_networks:
            return self
        private = tuple(network for network in addresses.PRIVATE if network not in self.allowed_networks)
        return replace(self, refused_networks=(*self.refused_networks, *private))


def _networks(name: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return addresses.parse_networks(texts)
    except ValueError as error:
        raise ValueError(f"ingest.{name}: {error}") from error
