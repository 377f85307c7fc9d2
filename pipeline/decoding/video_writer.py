"""Writes images into a video file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

Codec = Literal["h264", "vp9", "mjpeg"]


@dataclass(frozen=True, slots=True)
class _Format:
    encoder: str
    container: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)


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
    frames = iter(frames)
    if (first := next(frames, None)) is None:
        raise ValueError(f"no images for {path}")
    target, count = _FORMATS[codec], 0
    with av.open(path, "w", format=target.container) as file:
        options = {
            name: value for name, value in target.options.items() if bits_per_s is None or name not in _QUALITY_OPTIONS
        }
        stream = file.add_stream(target.encoder, rate=Fraction(fps).limit_denominator(1000), options=options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.gop_size = target.pixels, max(1, round(gop_s * fps))
        if bits_per_s is not None:
            stream.bit_rate = bits_per_s
        for pixels in chain([first], frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            count += 1
        file.mux(stream.encode(None))
    return count
