"""Clips as messages: a header and raw pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.clips import Clip
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
        can_wait=can_wait,
    )


def clip_body(clip: Clip) -> list[memoryview]:
    """The pixels of a clip."""
    return [np.ascontiguousarray(pixels).reshape(-1).data for pixels in (clip.frames, *clip.previews)]


def clip_of(header: ClipHeader, body: bytearray, camera_id: str) -> Clip:
    """The clip of a report whose body has the right length. Its arrays are the memory of the body."""
    pixels = np.frombuffer(body, np.uint8)
    previews: list[NDArray[np.uint8]] = []
    at = header.frames_nbytes
    for height, width in header.previews:
        previews.append(pixels[at : at + 3 * height * width].reshape(height, width, 3))
        at += 3 * height * width
    return Clip(
        camera_id,
        pixels[: header.frames_nbytes].reshape(-1, header.height, header.width, 3),
        header.times_s,
        tuple(previews),
        header.received_s,
        header.period_s,
        header.lost_before,
    )
