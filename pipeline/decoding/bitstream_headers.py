"""Size and pixel layout of compressed frames, read from their headers without decoding them.

DALI trusts the container: a frame larger than stated makes it write past its buffers and ends the process (seen with
VP8, VP9 and MJPEG streams whose size changes, as in video calls, or whose headers are damaged).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_VP9_SYNC, _VP9_RGB = 0x498342, 7
_VP8_START = b"\x9d\x01\x2a"
_JPEG_FRAME = re.compile(rb"(?s)\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..(.)(..)(..)(.)")


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """Size in pixels, and the layout of pixels (depth, colour model, subsampling) where the header states it."""

    width: int
    height: int
    layout: tuple[int, ...] = ()


def all_match(codec: str, packets: Iterable[bytes], width: int, height: int) -> bool:
    """Whether all frames in these packets (vp8, vp9 or mjpeg) have this size and one layout; False if damaged."""
    try:
        formats = {found for packet in packets for found in _PARSERS[codec](packet)}
    except ValueError:
        return False
    sizes = {(found.width, found.height) for found in formats}
    return sizes == {(width, height)} and len({found.layout for found in formats if found.layout}) <= 1


def _parse_vp8(data: bytes) -> Iterator[FrameFormat]:
    """RFC 6386, section 9.1."""
    if len(data) < 3:
        raise ValueError("VP8 frame without a header")
    if data[0] & 1 == 0:
        if data[3:6] != _VP8_START or len(data) < 10:
            raise ValueError("VP8 key frame without its start code")
        yield FrameFormat(int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF)


def _parse_mjpeg(data: bytes) -> Iterator[FrameFormat]:
    """ITU T.81, section B.2.2. Searches the whole packet, so a JPEG with a preview inside has two formats."""
    for frame in _JPEG_FRAME.finditer(data):
        precision, height, width, components = (int.from_bytes(part) for part in frame.groups())
        sampling = data[frame.end() + 1 : frame.end() + 3 * components : 3]
        yield FrameFormat(width, height, (precision, *sampling))


def _parse_vp9(data: bytes) -> Iterator[FrameFormat]:
    """VP9 bitstream specification 0.6, annex B (frames in one packet)."""
    for frame in _vp9_frames(data):
        found = _parse_vp9_frame(_BitReader(frame))
        if found is not None:
            yield found


def _vp9_frames(data: bytes) -> Iterator[bytes]:
    """The frames of one packet: several if it ends with a superframe index."""
    marker = data[-1] if data else 0
    count, size = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index_at = len(data) - 2 - count * size
    if marker >> 5 != 0b110 or index_at < 0 or data[index_at] != marker:
        yield data
        return
    at = 0
    for entry in range(index_at + 1, index_at + 1 + count * size, size):
        end = at + int.from_bytes(data[entry : entry + size], "little")
        if end > index_at:
            raise ValueError("VP9 superframe larger than its packet")
        if end > at:
            yield data[at:end]
        at = end


def _parse_vp9_frame(bits: _BitReader) -> FrameFormat | None:
    """Section 6.2, uncompressed_header, up to the frame's size; None if the header has no size of its own."""
    if bits.read(2) != 2:
        raise ValueError("VP9 frame without its marker")
    profile = bits.read(1) + 2 * bits.read(1)
    if profile == 3:
        bits.read(1)
    if bits.read(1):  # shows an earlier frame
        return None
    is_key, is_shown, is_resilient = not bits.read(1), bits.read(1), bits.read(1)
    if is_key:
        return _vp9_size(bits, _vp9_layout(bits, profile))
    is_intra = not is_shown and bits.read(1)
    if not is_resilient:
        bits.read(2)
    if is_intra:
        layout = _vp9_layout(bits, profile) if profile else _vp9_layout(bits, profile, has_colours=False)
        bits.read(8)
        return _vp9_size(bits, layout)
    bits.read(8 + 3 * 4)
    if any(bits.read(1) for _ in range(3)):  # the size of one of its reference frames
        return None
    return _vp9_size(bits, None)


def _vp9_layout(bits: _BitReader, profile: int, *, has_colours: bool = True) -> tuple[int, ...]:
    if bits.read(24) != _VP9_SYNC:
        raise ValueError("VP9 frame without its sync code")
    if not has_colours:
        return (0, 0, 1, 1)
    depth = bits.read(1) if profile >= 2 else 0
    is_rgb = bits.read(3) == _VP9_RGB
    if is_rgb:
        across = down = 0
    else:
        bits.read(1)
        across, down = (bits.read(1), bits.read(1)) if profile in (1, 3) else (1, 1)
    if profile in (1, 3):
        bits.read(1)
    return (depth, int(is_rgb), across, down)


def _vp9_size(bits: _BitReader, layout: tuple[int, ...] | None) -> FrameFormat:
    return FrameFormat(bits.read(16) + 1, bits.read(16) + 1, layout or ())


class _BitReader:
    """Reads bits from the front, most significant first. Raises ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:64])
        self._remaining = 8 * len(data[:64])

    def read(self, count: int) -> int:
        self._remaining -= count
        if self._remaining < 0:
            raise ValueError("frame shorter than its header")
        return self._value >> self._remaining & ((1 << count) - 1)


_PARSERS: dict[str, Callable[[bytes], Iterator[FrameFormat]]] = {
    "vp8": _parse_vp8,
    "vp9": _parse_vp9,
    "mjpeg": _parse_mjpeg,
}
CODECS = frozenset(_PARSERS)
