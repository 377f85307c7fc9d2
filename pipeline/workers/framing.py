"""Messages in a stream of bytes: a length, a header and a body of raw bytes. Knows nothing of their meaning."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipeline.workers.errors import MalformedMessage

_LENGTHS = struct.Struct("!II")  # of header and body


def frame(header: bytes, *body: bytes | memoryview) -> bytes:
    """The bytes of one message."""
    return b"".join((_LENGTHS.pack(len(header), sum(len(part) for part in body)), header, *body))


class FrameReader:
    """Cuts what arrives into messages. A length beyond its limit is refused before anything of it is kept."""

    def __init__(self, max_header: int, max_body: int) -> None:
        self._max_header, self._max_body = max_header, max_body
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytearray]]:
        """Header and body of each message that is complete now. Raises MalformedMessage."""
        self._buffer += data
        while len(self._buffer) >= _LENGTHS.size:
            header_length, body_length = _LENGTHS.unpack_from(self._buffer)
            if header_length > self._max_header or body_length > self._max_body:
                raise MalformedMessage(
                    f"a message of {header_length} and {body_length} bytes "
                    f"(limits {self._max_header} and {self._max_body})"
                )
            header_end = _LENGTHS.size + header_length
            end = header_end + body_length
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as view:
                header, body = bytes(view[_LENGTHS.size : header_end]), bytearray(view[header_end:end])
            del self._buffer[:end]
            yield header, body
