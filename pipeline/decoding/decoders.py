"""The seam between compressed segments and pictures, and who decodes what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from pipeline.decoding.images import DecodedImage
from pipeline.decoding.segments import Segment

log = structlog.get_logger(__name__)

MAX_FAILURES = 3


class DecodeError(Exception):
    """This decoder cannot decode this segment; another might."""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A picture and its place in its segment's times_s."""

    index: int
    image: DecodedImage


class Decoder(Protocol):
    """Decodes segments of one stream."""

    def decode(self, segment: Segment, wanted: Sequence[int]) -> Iterable[DecodedFrame]:
        """The pictures at the wanted indices (ascending), in order.

        For a picture that cannot be decoded the next one that can stands in, under its own index, or none.
        Raises DecodeError where nothing at all can be said about the segment.
        """


class DecoderBackend(StrEnum):
    DALI_GPU = "mixed"
    DALI_CPU = "cpu"
    LIBAV = "libav"


@dataclass(frozen=True, slots=True)
class _Nvdec:
    """What NVIDIA's decoder chips take of a codec: sides in pixels, and the oldest chip, by compute capability."""

    least: int
    most: int
    since: tuple[int, int] = (0, 0)

    def takes(self, size: tuple[int, int], gpu: tuple[int, int]) -> bool:
        """Whether this GPU decodes pictures of this size."""
        return gpu >= self.since and min(size) >= self.least and max(size) <= self.most


_ON_GPU = {
    "h264": _Nvdec(48, 4096),
    "hevc": _Nvdec(144, 8192),
    "vp9": _Nvdec(128, 8192),
    "av1": _Nvdec(128, 8192, since=(8, 6)),  # not on an A100, which is 8.0
    "mpeg4": _Nvdec(48, 2032),
}
_GPU_PIXELS = frozenset({"yuv420p", "yuvj420p"})  # what every generation of its decoder chip knows
_ON_CPU = frozenset({"vp8", "vp9", "mjpeg"})


def choose_backend(codec: str, pixel_format: str, size: tuple[int, int], gpu: tuple[int, int] | None) -> DecoderBackend:
    """Who decodes a stream: DALI wherever it can, libav the rest. `gpu` is its compute capability, if there is one.

    What a chip is known not to take is never tried on it.
    """
    chip = _ON_GPU.get(codec) if pixel_format in _GPU_PIXELS else None
    if gpu is not None and chip is not None and chip.takes(size, gpu):
        return DecoderBackend.DALI_GPU
    return DecoderBackend.DALI_CPU if codec in _ON_CPU else DecoderBackend.LIBAV


class FallbackDecoder:
    """Gives what the first decoder fails at to the second, and everything after MAX_FAILURES in a row."""

    def __init__(self, first: Decoder, second: Decoder, *, camera: str) -> None:
        self.failures = 0
        self._first, self._second = first, second
        self._camera = camera
        self._in_a_row = 0

    def decode(self, segment: Segment, wanted: Sequence[int]) -> Iterable[DecodedFrame]:
        if self._in_a_row >= MAX_FAILURES:
            return self._second.decode(segment, wanted)
        try:
            pictures = self._first.decode(segment, wanted)
        except DecodeError as error:
            self.failures += 1
            self._in_a_row += 1
            log.warning("decoder_fell_back", camera=self._camera, failures=self.failures, error=str(error))
            return self._second.decode(segment, wanted)
        self._in_a_row = 0
        return pictures
