"""Segments that a shard decodes for its worker, and the images that it sends back: headers and raw bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.decoding.decoders import DecodedFrame, StreamFormat
from pipeline.decoding.images import ReducedImage
from pipeline.workers import image_bytes
from pipeline.workers.message_fields import Handle, Message, Side

MAX_SEGMENT_NBYTES = 32 << 20
MAX_DUE = 16  # images of one message

_Number = Annotated[int, Field(ge=0, lt=1 << 53)]
_Index = Annotated[int, Field(ge=0, lt=1 << 20)]


class CompressedSegment(Message):
    """A segment of which images are due; the body is the segment as a video file. number: the response repeats it."""

    kind: Literal["segment"] = "segment"
    camera: Handle
    number: _Number
    format: StreamFormat
    indices: Annotated[tuple[_Index, ...], Field(min_length=1, max_length=MAX_DUE)]
    nbytes: Annotated[int, Field(ge=1, le=MAX_SEGMENT_NBYTES)]

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.indices)):
            raise ValueError("indices that do not increase")
        return self


class SegmentDecoded(Message):
    """The images of a segment; the body is their frames, and then their previews. error: why there are none."""

    kind: Literal["decoded"] = "decoded"
    camera: Handle
    number: _Number
    indices: tuple[_Index, ...] = ()
    frames: tuple[tuple[Side, Side], ...] = ()
    previews: tuple[tuple[Side, Side], ...] = ()
    error: str = ""


def response(segment: CompressedSegment, images: dict[int, ReducedImage]) -> tuple[SegmentDecoded, list[memoryview]]:
    """The shard's response to a segment: header and body."""
    frames, previews = [image.pixels for image in images.values()], [image.preview for image in images.values()]
    decoded = SegmentDecoded(
        camera=segment.camera,
        number=segment.number,
        indices=tuple(images),
        frames=tuple((frame.shape[0], frame.shape[1]) for frame in frames),
        previews=tuple((preview.shape[0], preview.shape[1]) for preview in previews),
    )
    return decoded, image_bytes.body_of((*frames, *previews))


def images_of(decoded: SegmentDecoded, body: bytearray) -> Sequence[DecodedFrame]:
    """The images of a response. Their arrays are views of the body."""
    arrays = image_bytes.arrays_of(body, (*decoded.frames, *decoded.previews))
    pairs = zip(arrays[: len(decoded.frames)], arrays[len(decoded.frames) :], strict=True)
    images = [ReducedImage(frame, preview) for frame, preview in pairs]
    return [DecodedFrame(index, image) for index, image in zip(decoded.indices, images, strict=True)]
