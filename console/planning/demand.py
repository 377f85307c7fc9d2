"""What is planned for: cameras, what they send, how often people ask, and what the store holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from cache_store.row_format import RowFormat
from console.planning.figures import PlanError
from console.planning.gpus import CODECS
from models.weight_format import WeightFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """What a camera sends. key_frame_every: seconds between two key frames. Raises PlanError."""

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "video_fps": (0.1, 240),
        "key_frame_every": (0.04, 600),
        "bitrate": (0.01, 1_000),
    }

    size: tuple[int, int] = (1920, 1080)
    codec: str = "h264"
    video_fps: float = 25.0
    key_frame_every: float = 1.0
    bitrate: float = 4.0  # Mb/s

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise PlanError(f"--codec is {self.codec!r}: a plan knows {', '.join(CODECS)}")
        _require_ranges(self, self.RANGES)

    def decoded_fps(self, sampled_fps: float) -> float:
        """Frames a second that must be decoded to sample so many.

        Key frames alone are decoded where they come as often as frames are sampled, every frame otherwise.
        """
        return sampled_fps if sampled_fps * self.key_frame_every <= 1 else self.video_fps


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A system to plan. Raises PlanError for a value out of range.

    fps: frames sampled of each camera a second. activity: share of the frames in which something changes.
    frame_size: width and height that the model reads. weights: shards.weights, of 16 bits or
    int8. slot_rows: shards.device.slot_rows. checkpoint_every: seconds. store_gb: memory of the store.
    """

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "cameras": (1, 1_000_000),
        "fps": (0.01, 60),
        "activity": (0, 1),
        "tokens_per_layer": (2, 1_000_000),
        "questions_per_minute": (0, 1_000_000),
        "checkpoint_every": (0.1, 86_400),
        "store_gb": (0.1, 100_000),
        "gpus_per_node": (1, 64),
        "spares": (0, 1_000),
    }

    cameras: int
    model: str
    gpu: str
    fps: float
    activity: float
    tokens_per_layer: int
    frame_size: tuple[int, int]
    questions_per_minute: float = 60.0
    video: Video = field(default_factory=Video)
    weights: WeightFormat = WeightFormat.AUTO
    slot_rows: RowFormat = RowFormat.EXACT
    checkpoint_every: float
    checkpoint_rows: RowFormat = RowFormat.EXACT
    store_gb: float = 64.0
    gpus_per_node: int = 8
    spares: int = 1

    def __post_init__(self) -> None:
        _require_ranges(self, self.RANGES)
        if self.weights is WeightFormat.FLOAT32:
            raise PlanError("--weights is 'float32': a plan knows numbers of 16 bits, and int8")


def parse_size(option: str, text: str) -> tuple[int, int]:
    """Width and height of "1920x1080". Raises PlanError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 16 <= int(width) <= 16_384 and 16 <= int(height) <= 16_384):
        raise PlanError(f"{option} is {text!r}: a size is WIDTHxHEIGHT, each 16 to 16384, e.g. 1920x1080")
    return int(width), int(height)


def _require_ranges(values: object, ranges: dict[str, tuple[float, float]]) -> None:
    for name, (low, high) in ranges.items():
        value = getattr(values, name)
        if not (math.isfinite(value) and low <= value <= high):
            raise PlanError(f"--{name.replace('_', '-')} is {value:,.15g}: it must be {low:,.15g} to {high:,.15g}")
