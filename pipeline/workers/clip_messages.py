"""Clips as messages: a header and raw pixels."""

from __future__ import annotations

from pipeline.sources.clips import Clip
from pipeline.workers import image_bytes
from pipeline.workers.messages import ClipHeader


def clip_header(handle: int, clip: Clip, *, can_wait: bool) -> ClipHeader:
    """Describes a clip."""
    _, height, width, _ = clip.frames.shape
    return ClipHeader(
        camera=handle,
        height=height,
        width=width,
        times_s=clip.times_s,
        previews=tuple((preview.shape[0], preview.shape[1]) for preview in clip.previews),
        received_s=clip.received_s,
        period_s=clip.period_s,
        lost_before=clip.lost_before,
        has_repeated_times=clip.has_repeated_times,
        can_wait=can_wait,
    )


def clip_body(clip: Clip) -> list[memoryview]:
    """The pixels of a clip."""
    return image_bytes.body_of((clip.frames, *clip.previews))


def clip_of(header: ClipHeader, body: bytearray, camera_id: str) -> Clip:
    """The clip of a report whose body has the right length. Its arrays are the memory of the body."""
    sizes = (len(header.times_s) * header.height, header.width), *header.previews
    frames, *previews = image_bytes.arrays_of(body, sizes)
    return Clip(
        camera_id,
        frames.reshape(-1, header.height, header.width, 3),
        header.times_s,
        tuple(previews),
        header.received_s,
        header.period_s,
        header.lost_before,
        header.has_repeated_times,
    )
