"""Encodes the videos that `hermes doctor --gpu` decodes: python -m benchmarks.decoding_samples.

Full HD, one in each codec of cameras that a GPU decodes. Each image shows its own number in large blocks, so that a
decoder that gives the wrong image is off by far more than one that rounds otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[1] / "actors" / "gpu_doctor" / "samples"
WIDTH, HEIGHT, IMAGES, FPS, GOP = 1920, 1080, 24, 25, 12
_BITS = 5
_BT709 = 1


@dataclass(frozen=True, slots=True)
class _Sample:
    name: str
    encoder: str
    options: dict[str, str]
    colorspace: int | None = None


_SAMPLES = (
    _Sample("h264.mp4", "libx264", {"preset": "slow", "crf": "28", "bf": "2"}, _BT709),
    _Sample("hevc.mp4", "libx265", {"preset": "medium", "crf": "28", "x265-params": "log-level=none:open-gop=0"}),
    _Sample("vp9.webm", "libvpx-vp9", {"crf": "36", "b": "0", "deadline": "good", "cpu-used": "4"}),
)


def main() -> None:
    """Writes all samples."""
    FOLDER.mkdir(exist_ok=True)
    for sample in _SAMPLES:
        _write(sample)
        print(f"{sample.name}: {(FOLDER / sample.name).stat().st_size:,} bytes")


def draw(number: int) -> NDArray[np.uint8]:
    """A saturated coloured image; its upper half shows the number in bright and dark blocks. [H, W, 3]"""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([40 + 190 * x // WIDTH, 220 - 180 * y // HEIGHT, np.full_like(x, 40)], axis=-1)
    for bit in range(_BITS):
        left, right = bit * WIDTH // _BITS, (bit + 1) * WIDTH // _BITS
        image[: HEIGHT // 2, left:right] = (230, 200, 30) if number >> bit & 1 else (20, 40, 120)
    return image.astype(np.uint8)


def _write(sample: _Sample) -> None:
    with av.open(FOLDER / sample.name, "w") as file:
        stream = file.add_stream(sample.encoder, rate=FPS, options=sample.options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", GOP
        if sample.colorspace is not None:
            stream.codec_context.colorspace = sample.colorspace
        for number in range(IMAGES):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=sample.colorspace)))
        file.mux(stream.encode(None))


if __name__ == "__main__":
    main()
