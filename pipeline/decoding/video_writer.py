"""Writing a video file from pictures."""

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


_QUALITY = frozenset({"crf", "b", "qmin", "qmax"})
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
    """Encodes RGB pictures [H, W, 3] of one size into a file with a key frame every `gop_s`; returns how many.

    Without `bits_per_s` the codec takes as many as its usual quality needs.
    The container is MP4, WebM or AVI by the codec, whatever the path says. Raises ValueError without pictures.
    """
    frames = iter(frames)
    if (first := next(frames, None)) is None:
        raise ValueError(f"no pictures for {path}")
    made, count = _FORMATS[codec], 0
    with av.open(path, "w", format=made.container) as file:
        options = {name: value for name, value in made.options.items() if bits_per_s is None or name not in _QUALITY}
        stream = file.add_stream(made.encoder, rate=Fraction(fps).limit_denominator(1000), options=options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.gop_size = made.pixels, max(1, round(gop_s * fps))
        if bits_per_s is not None:
            stream.bit_rate = bits_per_s
        for pixels in chain([first], frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            count += 1
        file.mux(stream.encode(None))
    return count
