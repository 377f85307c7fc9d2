"""Finds JPEG pictures in a stream of bytes by their own markers: cameras break the rules of what stands between."""

from __future__ import annotations

import re

MAX_NBYTES = 32 << 20  # of a picture, and of what may come before the first one
_BEGIN, _BEGIN_NEXT, _END = b"\xff\xd8\xff", 0xD8, 0xD9
_SCAN = 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # that ends the data of a scan


class JpegFinder:
    """Takes bytes and gives the whole pictures in them. One that breaks off is left out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # up to here the picture at the beginning of the buffer was read; 0 without one
        self._is_scan = False
        self.num_skipped_nbytes = 0  # since the last picture

    def add(self, data: bytes) -> list[bytes]:
        """The pictures that are complete with these bytes."""
        self._buffer += data
        pictures = []
        while (self._at or self._begin()) and (is_whole := self._read_on()) is not None:
            if is_whole:
                pictures.append(bytes(self._buffer[: self._at]))
                self.num_skipped_nbytes = 0
            self._drop(self._at if is_whole else max(2, self._at))
        if len(self._buffer) > MAX_NBYTES:
            self._drop(len(self._buffer))
        return pictures

    def _begin(self) -> bool:
        start = self._buffer.find(_BEGIN)
        keep = len(_BEGIN) - 1
        skipped = start if start >= 0 else max(0, len(self._buffer) - keep)
        self.num_skipped_nbytes += skipped
        del self._buffer[:skipped]
        self._at = 2 if start >= 0 else 0
        return start >= 0

    def _drop(self, nbytes: int) -> None:
        del self._buffer[:nbytes]
        self._at, self._is_scan = 0, False

    def _read_on(self) -> bool | None:
        """Whether the picture at the beginning is whole (and _at is its end) or damaged; None if more must come."""
        while True:
            if self._is_scan:
                match = _MARKER.search(self._buffer, self._at)
                if match is None:
                    self._at = max(self._at, len(self._buffer) - 1)
                    return None
                self._at, self._is_scan = match.start(), False
            if len(self._buffer) < self._at + 4:
                if self._buffer[self._at : self._at + 2] == bytes((0xFF, _END)):
                    self._at += 2
                    return True
                return None
            mark, kind = self._buffer[self._at], self._buffer[self._at + 1]
            if mark != 0xFF or kind in (0x00, _BEGIN_NEXT):
                return False
            if kind == _END:
                self._at += 2
                return True
            if kind == 0xFF or kind in _ALONE:
                self._at += 1 if kind == 0xFF else 2
                continue
            nbytes = int.from_bytes(self._buffer[self._at + 2 : self._at + 4], "big")
            if nbytes < 2:
                return False
            if len(self._buffer) < self._at + 2 + nbytes:
                return None
            self._at += 2 + nbytes
            self._is_scan = kind == _SCAN


def as_part(picture: bytes) -> bytes:
    """The picture as a part of the MJPEG stream (multipart/x-mixed-replace) that libav reads."""
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(picture), picture)
