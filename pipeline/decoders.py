"""The seam between compressed segments and pictures, and who decodes what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from pipeline.pictures import Picture
from pipeline.segments import Segment

log = structlog.get_logger(__name__)

MAX_FAILURES = 3


class DecodeError(Exception):
    """This decoder cannot decode this segment; another might."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture and its place in its segment's times_s."""

    index: int
    picture: Picture


class Decoder(Protocol):
    """Decodes segments of one stream."""

    def decode(self, segment: Segment, wanted: Sequence[int]) -> Iterable[Decoded]:
        """The pictures at the wanted indices (ascending), in order.

        For a picture that cannot be decoded the next one that can stands in, under its own index, or none.
        Raises DecodeError where nothing at all can be said about the segment.
        """


class Engine(StrEnum):
    DALI_GPU = "mixed"
    DALI_CPU = "cpu"
    LIBAV = "libav"


_ON_GPU = frozenset({"h264", "hevc", "vp9", "av1", "mpeg4"})
_GPU_PIXELS = frozenset({"yuv420p", "yuvj420p"})  # what every generation of its decoder chip knows
_ON_CPU = frozenset({"vp8", "vp9", "mjpeg"})


def choose_engine(codec: str, pixel_format: str, *, has_gpu: bool) -> Engine:
    """Who decodes a codec: DALI wherever it can, libav the rest."""
    if has_gpu and codec in _ON_GPU and pixel_format in _GPU_PIXELS:
        return Engine.DALI_GPU
    return Engine.DALI_CPU if codec in _ON_CPU else Engine.LIBAV


class FallbackDecoder:
    """Gives what the first decoder fails at to the second, and everything after MAX_FAILURES in a row."""

    def __init__(self, first: Decoder, second: Decoder, *, camera: str) -> None:
        self.failures = 0
        self._first, self._second = first, second
        self._camera = camera
        self._in_a_row = 0

    def decode(self, segment: Segment, wanted: Sequence[int]) -> Iterable[Decoded]:
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
