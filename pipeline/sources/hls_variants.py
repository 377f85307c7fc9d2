"""What an HLS playlist says: the variants of a master playlist, how far apart segments come. Opens nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STREAM = "#EXT-X-STREAM-INF:"
_WIDTH = re.compile(r"RESOLUTION=(\d{1,5})x\d")
_BANDWIDTH = re.compile(r"(?:^|[,:])BANDWIDTH=(\d{1,12})")
_CODECS = re.compile(r'CODECS="([^"]*)"')
_TARGET = re.compile(r"^#EXT-X-TARGETDURATION:\s*(\d{1,5})", re.MULTILINE)
# A segment takes up to its target duration, and the playlist is read again after half of that at most. Some playlists
# name a target that is far too long.
_PAUSE, _MAX_TARGET_S = 1.5, 60
# Segments, an end, or a master playlist, which `parse` finds no video in.
_NO_LONGER_EMPTY = ("#EXTINF", "#EXT-X-ENDLIST", _STREAM, "#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-MEDIA:")
_VIDEO_CODECS = ("avc", "hvc", "hev", "vp0", "vp8", "vp9", "av01", "mp4v", "dvh")


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of a stream. width, bandwidth: None where the playlist does not say it."""

    url: str
    width: int | None
    bandwidth: int | None


def parse(playlist: str) -> list[Variant]:
    """The variants with video, none if it is no master playlist."""
    found, attributes = [], ""
    for line in map(str.strip, playlist.splitlines()):
        if line.startswith(_STREAM):
            attributes = line
        elif attributes and line and not line.startswith("#"):
            codecs = _CODECS.search(attributes)
            if codecs is None or any(name.strip().startswith(_VIDEO_CODECS) for name in codecs[1].split(",")):
                found.append(Variant(line, _number(_WIDTH, attributes), _number(_BANDWIDTH, attributes)))
            attributes = ""
    return found


def choose(variants: list[Variant], width: int) -> Variant:
    """The smallest variant of at least this width, else the largest; of several the one that costs least."""
    return min(variants, key=lambda variant: (*_shortfall(variant, width), variant.bandwidth or 0))


def silence_s(playlist: str) -> float:
    """Seconds without data that are normal for a media playlist, whose segments arrive whole; 0 if unknown."""
    return _PAUSE * min(_number(_TARGET, playlist) or 0, _MAX_TARGET_S)


def waits_for_segments(playlist: str) -> bool:
    """Whether it is a media playlist that names no segment yet, as of a recorder that begins with its stream."""
    return playlist.startswith("#EXTM3U") and not any(tag in playlist for tag in _NO_LONGER_EMPTY)


def _shortfall(variant: Variant, width: int) -> tuple[int, int]:
    """How well a variant's size fits, the best one first. An unknown size comes after those that are enough."""
    if variant.width is None:
        return 1, 0
    return (0, variant.width) if variant.width >= width else (2, -variant.width)


def _number(pattern: re.Pattern[str], attributes: str) -> int | None:
    match = pattern.search(attributes)
    return int(match[1]) if match else None
