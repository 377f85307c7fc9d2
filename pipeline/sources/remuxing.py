"""Writes segments of a stream into video files, which a GPU's decoder reads."""

from __future__ import annotations

import io
from fractions import Fraction

import av
from av.error import FFmpegError

from pipeline.decoding.decoders import DecodeError
from pipeline.decoding.libav import av_packet
from pipeline.decoding.segments import Segment

_CONTAINERS = {
    "vp8": "webm",
    "vp9": "webm",
    "mjpeg": "avi",
    "h264": "mp4",
    "hevc": "mp4",
    "av1": "mp4",
    "mpeg4": "mp4",
}


def write(segment: Segment, codec: str, template: av.VideoStream) -> bytes:
    """The segment as a video file in memory, its frames evenly spaced in time.

    Raises DecodeError if no container takes the codec.
    """
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format=_CONTAINERS[codec]) as file:
            stream = file.add_stream_from_template(template, opaque=True)
            for packet, (pts, dts) in zip(segment.packets, _evenly_spaced(segment), strict=True):
                copy = av.Packet(bytes(av_packet(packet)))
                copy.stream, copy.time_base, copy.is_keyframe = stream, Fraction(1, 50), packet.is_key
                copy.pts, copy.dts, copy.duration = pts, dts, 2
                file.mux(copy)
    except FFmpegError as error:
        raise DecodeError(f"{codec} cannot be written to {_CONTAINERS[codec]}: {error.strerror}") from error
    return buffer.getvalue()


def _evenly_spaced(segment: Segment) -> list[tuple[int, int]]:
    """Presentation and decode time of each packet, in units of 1/50 s; shown frames get even times, hidden ones odd."""
    ranks = {id(packet): 2 * rank for rank, packet in enumerate(sorted(segment.packets, key=lambda p: p.pts_s))}
    pts = [ranks[id(packet)] for packet in segment.packets]
    delay = max(rank - shown for rank, shown in zip(sorted(pts), pts, strict=True))
    return [(shown, rank - delay) for rank, shown in zip(sorted(pts), pts, strict=True)]
