"""The body of an HTTP response as a file. Knows neither connections nor logins."""

from __future__ import annotations

import http.client
import io
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from pipeline.cameras import SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network.deadline import DeadlineSocket
from pipeline.network.url_redaction import redact

MAX_PLAYLIST_NBYTES = 1 << 20
_MAX_SKIP_NBYTES = 1 << 18  # a longer skip ahead makes a new request
_READ_NBYTES = 1 << 16
_PEEK_NBYTES = 512
_CLEAR_TYPES = ("video/", "audio/", "multipart/")  # what they name is not looked for in the body
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

T = TypeVar("T")


class Requests(Protocol):
    """Makes the requests of a file."""

    def request(
        self, url: str, first: int, end: int | None, headers: Mapping[str, str]
    ) -> tuple[DeadlineSocket, http.client.HTTPResponse, str]:
        """Requests `url`; returns the connection, its response and the URL that answered. Raises SourceError."""

    def attempt(self, url: str, step: Callable[[], T]) -> T:
        """The result of `step`, which waits for the network. Raises SourceUnreachable where the network fails."""


class HttpFile:
    """The body at a URL as a file. It is seekable where the server supports byte ranges, else a stream.

    name: the URL that answered. nbytes: None if the server does not say where the body ends. is_playlist: whether it is
    an HLS playlist, by its type, its name or its first line; what exceeds MAX_PLAYLIST_NBYTES of one is not read.
    """

    def __init__(
        self, requests: Requests, url: str, first: int, end: int | None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends the first request. Raises SourceError."""
        self._requests, self._end = requests, end
        self._received = self._position = first  # offsets of the next byte: in the response, and to be read
        self._connection, self._response, self.name = requests.request(url, first, end, headers or {})
        is_packed = self.header("Content-Encoding").lower() in ("gzip", "x-gzip", "deflate")
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB) if is_packed else None
        length = self._response.length
        self.nbytes = None if length is None or is_packed else first + length
        self.content_type = self._response.headers.get_content_type() if self.header("Content-Type") else ""
        self._has_ranges = self.header("Accept-Ranges") == "bytes" and self.nbytes is not None
        self._ahead = b""  # of the body, received before it was read
        if not first and not self.is_unchanged and not self.content_type.startswith(_CLEAR_TYPES):
            try:
                self._ahead = self._peek()
            except SourceError:
                self.close()
                raise
        self.is_playlist = self._is_playlist()

    @property
    def is_unchanged(self) -> bool:
        """Whether the server says that the body is the one that the request's headers name."""
        return self._response.status == http.HTTPStatus.NOT_MODIFIED

    @property
    def begins_with(self) -> bytes:
        """The first bytes of a body of unclear type, before anything is read; else b""."""
        return self._ahead

    def header(self, name: str) -> str:
        """A header of the response, "" without one."""
        return str(self._response.headers.get(name, "")).strip()

    def seekable(self) -> bool:
        """Whether reading can continue at any offset."""
        return self._has_ranges

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Sets the offset of the next read; the request follows with that read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.nbytes or 0}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The offset of the next read."""
        return self._position

    def read(self, size: int = _READ_NBYTES) -> bytes:
        """At most `size` bytes, as soon as any arrive; b"" at the end. Blocks. Raises SourceError."""
        if self.nbytes is not None and self._position >= self.nbytes:
            return b""
        self._move_to_position()
        data = self._receive(size)
        self._position = self._received
        if self._received > MAX_PLAYLIST_NBYTES and self.is_playlist:
            text = f"{redact(self.name)}: its playlist exceeds {MAX_PLAYLIST_NBYTES} bytes"
            raise SourceInvalid(text, SourceReason.TOO_LARGE)
        return data

    def close(self) -> None:
        """Closes its connection."""
        self._connection.close()

    def _is_playlist(self) -> bool:
        is_named = "mpegurl" in self.content_type or urlsplit(self.name).path.endswith((".m3u8", ".m3u"))
        return is_named or self._ahead.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"#EXTM3U")

    def _move_to_position(self) -> None:
        if 0 < self._position - self._received <= _MAX_SKIP_NBYTES:
            while self._received < self._position and self._receive(self._position - self._received):
                pass
        if self._received != self._position:
            self._connection.close()
            self._ahead = b""
            self._connection, self._response, _ = self._requests.request(self.name, self._position, self._end, {})
            self._received = self._position

    def _receive(self, size: int) -> bytes:
        data = self._ahead[:size]
        self._ahead = self._ahead[size:]
        data = data or self._receive_more(size)
        self._received += len(data)
        if not data and self.nbytes is not None and self._received < self.nbytes:
            text = f"{redact(self.name)}: the connection ended after {self._received} of {self.nbytes} bytes"
            raise SourceUnreachable(text, SourceReason.BROKE_OFF)
        return data

    def _peek(self) -> bytes:
        ahead = b""
        while len(ahead) < _PEEK_NBYTES and (data := self._receive_more(_READ_NBYTES)):
            ahead += data
        return ahead

    def _receive_more(self, size: int) -> bytes:
        """At most `size` more bytes of the body, unpacked."""
        if self._unpacker is None:
            return self._requests.attempt(self.name, lambda: self._response.read1(size))
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._requests.attempt(
                self.name, lambda: self._response.read1(_READ_NBYTES)
            )
            if not packed:
                break
            try:
                if data := self._unpacker.decompress(packed, size):
                    return data
            except zlib.error as error:
                text = f"{redact(self.name)}: its body is not {self.header('Content-Encoding')}: {error}"
                raise SourceUnreachable(text, SourceReason.SERVER_ERROR) from error
        return b""
