"""The interface from compressed segments to decoded images, and which backend decodes which stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.images import DecodedImage
from pipeline.decoding.segments import Segment

log = structlog.get_logger(__name__)

MAX_FAILURES = 3


class DecodeError(Exception):
    """This decoder cannot decode this segment; another one may."""


class DecoderBusy(DecodeError):
    """This decoder has no time for this segment; it may have for the next one."""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A decoded image and its index in the segment's times_s."""

    index: int
    image: DecodedImage


class Decoder(Protocol):
    """Decodes segments of one stream."""

    def decode(self, segment: Segment, indices: Sequence[int]) -> Iterable[DecodedFrame]:
        """The images at these indices (ascending), in order.

        An image that cannot be decoded is replaced by the next one that can, with that one's index, or is left out.
        Raises DecodeError if the segment cannot be decoded at all.
        """


class FileDecoder(Protocol):
    """Decodes segments of one stream, each of them a video file in memory."""

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterable[DecodedFrame]:
        """As Decoder.decode; may decode while the images are iterated. Raises DecodeError."""


class RemuxingDecoder:
    """A Decoder that writes each segment into a file for a FileDecoder."""

    def __init__(self, remux: Callable[[Segment], bytes], files: FileDecoder) -> None:
        """remux: turns a segment into a video file; raises DecodeError."""
        self._remux, self._files = remux, files

    def decode(self, segment: Segment, indices: Sequence[int]) -> Iterable[DecodedFrame]:
        return self._files.decode(self._remux(segment), indices)


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """What a decoder must know of a stream. width, height: in pixels, as the stream's header says."""

    codec: str
    pixel_format: str
    width: int
    height: int
    matrix: ColourMatrix


class CompressedStream(Protocol):
    """An opened stream: its format, and how its segments become files."""

    @property
    def format(self) -> StreamFormat: ...

    def remux(self, segment: Segment) -> bytes:
        """The segment as a video file. Raises DecodeError."""


class DecoderFactory(Protocol):
    """Makes the decoder of a stream; None if libav is to decode it. device: `ingest.device`."""

    def __call__(self, stream: CompressedStream, device: str) -> Decoder | None: ...


def libav_alone(stream: CompressedStream, device: str) -> None:
    """libav decodes every stream."""


class DecoderBackend(StrEnum):
    """What decodes a stream."""

    DALI_GPU = "dali_gpu"
    DALI_CPU = "dali_cpu"
    LIBAV = "libav"


@dataclass(frozen=True, slots=True)
class _NvdecLimits:
    """What NVIDIA's decoder chip (NVDEC) supports of a codec: sides in pixels, and the oldest compute capability."""

    min_side: int
    max_side: int
    min_capability: tuple[int, int] = (0, 0)

    def can_decode(self, size: tuple[int, int], capability: tuple[int, int]) -> bool:
        """Whether a GPU of this compute capability decodes images of this size."""
        is_supported = capability >= self.min_capability
        return is_supported and min(size) >= self.min_side and max(size) <= self.max_side


_ON_GPU = {
    "h264": _NvdecLimits(48, 4096),
    "hevc": _NvdecLimits(144, 8192),
    "vp9": _NvdecLimits(128, 8192),
    "av1": _NvdecLimits(128, 8192, min_capability=(8, 6)),  # not on an A100, which is 8.0
    "mpeg4": _NvdecLimits(48, 2032),
}
_GPU_PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p"})  # those that every generation of NVDEC decodes
_ON_CPU = frozenset({"vp8", "vp9", "mjpeg"})


def choose_backend(stream: StreamFormat, gpu: tuple[int, int] | None) -> DecoderBackend:
    """DALI for every stream that it can decode, else libav. `gpu`: compute capability, None without a GPU.

    A stream outside of the chip's limits is never tried on it.
    """
    limits = _ON_GPU.get(stream.codec) if stream.pixel_format in _GPU_PIXEL_FORMATS else None
    if gpu is not None and limits is not None and limits.can_decode((stream.width, stream.height), gpu):
        return DecoderBackend.DALI_GPU
    return DecoderBackend.DALI_CPU if stream.codec in _ON_CPU else DecoderBackend.LIBAV


class FallbackDecoder:
    """Decodes with the second decoder what the first fails at, and everything after MAX_FAILURES in a row.

    A first decoder that has no time has not failed: it is asked again for each segment.
    """

    def __init__(self, first: Decoder, second: Decoder, *, camera: str) -> None:
        self.failures = 0
        self._first, self._second = first, second
        self._camera = camera
        self._failures_in_a_row, self._is_busy = 0, False

    def decode(self, segment: Segment, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        if self._failures_in_a_row >= MAX_FAILURES:
            yield from self._second.decode(segment, indices)
            return
        newest = -1
        try:
            for decoded in self._first.decode(segment, indices):
                newest = decoded.index
                yield decoded
        except DecodeError as error:
            self._note(error)
            if rest := [index for index in indices if index > newest]:
                yield from self._second.decode(segment, rest)
        else:
            self._failures_in_a_row, self._is_busy = 0, False

    def _note(self, error: DecodeError) -> None:
        was_busy, self._is_busy = self._is_busy, isinstance(error, DecoderBusy)
        if self._is_busy and was_busy:
            return
        if not self._is_busy:
            self.failures += 1
            self._failures_in_a_row += 1
        log.warning("decoder_fell_back", camera=self._camera, failures=self.failures, reason=str(error))
