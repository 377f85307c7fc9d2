"""The limits of ingest: how often a camera is sampled, how long is waited for what, what is too big."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.network import addresses
from pipeline.network.addresses import AddressRules, Network

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """Lengths of time in seconds, sizes in pixels and bytes. Raises ValueError for a value out of range."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    sample_fps: float = 2.0
    frames_per_clip: int = 4
    max_clip_wait_s: float = 1.0  # a clip is handed over when full or this old
    max_segment_s: float = 1.0  # a live stream's longer groups of pictures are cut
    max_gop_s: float = 30.0  # and what follows this long after a key frame is not read
    max_gop_bytes: int = 64 << 20
    max_lag_s: float = 4.0  # frames of a live stream that come later are dropped
    stall_after_s: float = 10.0
    open_timeout_s: float = 10.0
    refused_retry_s: float = 300.0  # how long a camera is left alone that refuses who asks
    first_retry_s: float = 0.5  # and twice as long each time that nothing came
    last_retry_s: float = 30.0
    max_fps: float = 130.0  # of faster cameras only the key frames are decoded
    max_key_wait_s: float = 70.0  # for a live stream's first key frame
    max_width: int = 4096
    max_height: int = 4096
    thumbnail_width: int = 320
    device: str = "auto"
    allowed_networks: tuple[str, ...] = ()  # CIDR; the narrowest network that an address is in decides
    refused_networks: tuple[str, ...] = ()
    video_folders: tuple[Path, ...] = ()  # a file is a camera only below these
    ca_file: Path | None = None  # certificates that are believed beside the system's own authorities

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"ingest.{name} is {value}: it must be {low} to {high}")
        if self.device not in DEVICES:
            raise ValueError(f"ingest.device is {self.device!r}: it must be one of {', '.join(DEVICES)}")
        for folder in self.video_folders:
            if not folder.is_absolute():
                raise ValueError(f"ingest.video_folders: {str(folder)!r} is not absolute")
        _ = self.address_rules

    @property
    def address_rules(self) -> AddressRules:
        """Where on the network cameras may be."""
        return AddressRules(
            _networks("allowed_networks", self.allowed_networks), _networks("refused_networks", self.refused_networks)
        )


def _networks(name: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return addresses.parse_networks(texts)
    except ValueError as error:
        raise ValueError(f"ingest.{name}: {error}") from error


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("sample_fps", 0.01, 60),
    ("frames_per_clip", 1, 64),
    ("max_clip_wait_s", 0.05, 60),
    ("max_segment_s", 0.1, 60),
    ("max_gop_s", 1, 600),
    ("max_gop_bytes", 1 << 16, 1 << 30),
    ("max_lag_s", 0.5, 600),
    ("stall_after_s", 0.5, 600),
    ("open_timeout_s", 0.5, 600),
    ("refused_retry_s", 1, 86_400),
    ("first_retry_s", 0.1, 60),
    ("last_retry_s", 0.1, 3600),
    ("max_fps", 1, 1000),
    ("max_key_wait_s", 1, 3600),
    ("max_width", 16, 16384),
    ("max_height", 16, 16384),
    ("thumbnail_width", 16, 1920),
)
