"""Frames of recordings: the product's own decoding, sampled by time, reduced to what the model reads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.streaming.benchmark import StreamQuestion
from benchmarks.streaming.errors import VideoMissing, VideoUnreadable
from pipeline.cameras import PlaybackSpeed, SourceError
from pipeline.decoding.images import downscale_for
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.media_source import MediaSource
from pipeline.sources.source import SourceContext

Fit = Callable[[int, int], tuple[int, int]]  # width and height of an image to those that the model reads

# Key frames of these recordings may be far apart, and none of their frames is left out.
_MAX_GOP_S, _MAX_GOP_NBYTES, _MAX_FPS, _MAX_SIDE = 600.0, 1 << 30, 1_000.0, 16_384
_NO_THUMBNAIL = 1
_ROUNDING_S = 1e-6  # of the times of frames


@dataclass(frozen=True, slots=True)
class Frame:
    """A sampled frame. time_s: seconds since the start of its video. pixels: uint8 RGB [H, W, 3]"""

    time_s: float
    pixels: Tensor


def find(question: StreamQuestion, folder: Path) -> Path:
    """The video of a question, below the folder. Raises VideoMissing."""
    for place in question.videos:
        if (video := folder / place.lstrip("/")).is_file():
            return video.absolute()
    raise VideoMissing(f"{question.origin}: no such video in {folder} (looked for {', '.join(question.videos)})")


def read(path: Path, fps: float, fit: Fit) -> Iterator[Frame]:
    """The frames of a video from its start, at least one, all of one size. Raises VideoUnreadable."""
    config = IngestConfig(
        sample_fps=fps,
        max_gop_s=_MAX_GOP_S,
        max_gop_bytes=_MAX_GOP_NBYTES,
        max_fps=_MAX_FPS,
        max_width=_MAX_SIDE,
        max_height=_MAX_SIDE,
        device="cpu",
    )
    try:
        stream = Demuxer(FileUrl(path), config)
        source = MediaSource(stream, FileUrl(path), config, _context(), start_s=0.0)
        size: tuple[int, int] | None = None
        try:
            for sample in source.samples():
                width, height = size = size or fit(sample.image.width, sample.image.height)
                small = downscale_for(sample.image, width, height, _NO_THUMBNAIL)
                yield Frame(sample.time_s, torch.from_numpy(small.resize(height, width)))
        finally:
            source.close()
    except SourceError as error:
        raise VideoUnreadable(str(error)) from error


class FrameReader:
    """Gives the frames of a video up to one moment after the other, each frame once."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self._next = next(frames, None)
        self._is_begun = False

    def until(self, at_s: float) -> Iterator[Frame]:
        """The frames up to this time that were not given before. The first frame is given whatever its time."""
        while self._next is not None and (self._next.time_s <= at_s + _ROUNDING_S or not self._is_begun):
            frame, self._is_begun = self._next, True
            self._next = next(self._frames, None)
            yield frame


def _context() -> SourceContext:
    """At the pace at which frames are taken; nothing is waited for."""
    return SourceContext(
        camera="benchmark",
        pace=PlaybackSpeed.FAST,
        started_s=0.0,
        after_s=-math.inf,
        clock=time.monotonic,
        wait=lambda _: False,
        on_dropped=lambda _: None,
        on_note=lambda _: None,
    )
