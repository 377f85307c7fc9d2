"""Encodes images: into a video file, or into a live stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

Codec = Literal["h264", "vp9", "mjpeg"]


@dataclass(frozen=True, slots=True)
class _Format:
    encoder: str
    container: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Where a live stream is written to, e.g. a connection."""

    def write(self, data: bytes, /) -> int:
        """Writes all of it. Raises OSError if the reader has left."""


# How each codec is sent over HTTP: its container and media type.
LIVE_CONTAINERS: dict[Codec, tuple[str, str]] = {
    "h264": ("matroska", "video/x-matroska"),
    "vp9": ("webm", "video/webm"),
    "mjpeg": ("mpjpeg", "multipart/x-mixed-replace; boundary=ffmpeg"),
}
# By default encoders delay frames, and Matroska buffers seconds of them.
_LIVE_OPTIONS: dict[Codec, dict[str, str]] = {
    "h264": {"tune": "zerolatency"},
    "vp9": {"lag-in-frames": "0"},
    "mjpeg": {},
}
_LIVE_CONTAINER_OPTIONS = {"flush_packets": "1"}
_LIVE_MATROSKA_OPTIONS = {"flush_packets": "1", "cluster_time_limit": "100"}

_QUALITY_OPTIONS = frozenset({"crf", "b", "qmin", "qmax"})
_FORMATS: dict[str, _Format] = {
    "h264": _Format("libx264", "mp4", "yuv420p", {"preset": "ultrafast", "crf": "25"}),
    "vp9": _Format("libvpx-vp9", "webm", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "b": "1M"}),
    "mjpeg": _Format("mjpeg", "avi", "yuvj420p", {"qmin": "3", "qmax": "3"}),
}


def write_video(
    frames: Iterable[NDArray[np.uint8]],
    path: Path,
    *,
    fps: float,
    codec: Codec,
    gop_s: float = 1.0,
    bits_per_s: int | None = None,
) -> int:
    """Encodes RGB images [H, W, 3] of one size, with a key frame every `gop_s` seconds; returns their number.

    Without `bits_per_s` the quality is constant. The codec decides the container (MP4, WebM or AVI), not the name of
    the file. Raises ValueError without images.
    """
    first, images = _peek(frames, str(path))
    target, count = _FORMATS[codec], 0
    with av.open(path, "w", format=target.container) as file:
        options = {
            name: value for name, value in target.options.items() if bits_per_s is None or name not in _QUALITY_OPTIONS
        }
        stream = _add_stream(file, target, first, fps, gop_s=gop_s, options=options)
        if bits_per_s is not None:
            stream.bit_rate = bits_per_s
        for image in images:
            _encode(file, stream, image)
            count += 1
        file.mux(stream.encode(None))
    return count


def write_stream(frames: Iterable[NDArray[np.uint8]], sink: Sink, *, fps: float, codec: Codec) -> None:
    """Encodes RGB images [H, W, 3] as they come, with a key frame each second; returns when the reader has left.

    `frames` sets the pace and may be endless. Raises ValueError without images.
    """
    first, images = _peek(frames, "a stream")
    target, container = _FORMATS[codec], LIVE_CONTAINERS[codec][0]
    container_options = _LIVE_CONTAINER_OPTIONS if container == "mpjpeg" else _LIVE_MATROSKA_OPTIONS
    try:
        with av.open(sink, "w", format=container, container_options=container_options) as file:
            stream = _add_stream(file, target, first, fps, gop_s=1.0, options=target.options | _LIVE_OPTIONS[codec])
            for image in images:
                _encode(file, stream, image)
    except (OSError, FFmpegError):
        # The reader has left: a write failed, or the trailer that libav writes at the end.
        return


def _peek(frames: Iterable[NDArray[np.uint8]], target: str) -> tuple[NDArray[np.uint8], Iterator[NDArray[np.uint8]]]:
    """The first image, and all of them. Raises ValueError, which names the target, if there is none."""
    images = iter(frames)
    if (first := next(images, None)) is None:
        raise ValueError(f"no images for {target}")
    return first, chain([first], images)


def _add_stream(
    file: OutputContainer,
    target: _Format,
    first: NDArray[np.uint8],
    fps: float,
    *,
    gop_s: float,
    options: dict[str, str],
) -> VideoStream:
    """A stream of images of the size of `first`, with a key frame every `gop_s` seconds."""
    stream = file.add_stream(target.encoder, rate=Fraction(fps).limit_denominator(1000), options=options)
    assert isinstance(stream, VideoStream)
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt, stream.gop_size = target.pixels, max(1, round(gop_s * fps))
    return stream


def _encode(file: OutputContainer, stream: VideoStream, image: NDArray[np.uint8]) -> None:
    file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
