"""Reads what lies at http(s) URLs: each connection goes to an address that was judged, no redirect is followed."""

from __future__ import annotations

import http.client
import io
import ssl
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pipeline.cameras import SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import addresses, http_auth
from pipeline.network.addresses import AddressRules
from pipeline.network.deadline import Deadline, DeadlineSocket
from pipeline.network.http_auth import Credentials
from pipeline.network.urls import redact

MAX_PLAYLIST_NBYTES = 1 << 20
_PORTS = {"http": 80, "https": 443}
_AS_IT_IS = "%/?:@!$&'()*+,;=~[]"
_FORWARD_NBYTES = 1 << 18  # a shorter way ahead is read, not asked for
_READ_NBYTES = 1 << 16
_REASONS = {
    401: SourceReason.UNAUTHORIZED,
    403: SourceReason.FORBIDDEN,
    404: SourceReason.NOT_FOUND,
    410: SourceReason.NOT_FOUND,
}

T = TypeVar("T")


class HttpClient:
    """Opens URLs for one camera; its credentials go to the camera's own scheme, host and port alone."""

    def __init__(
        self,
        home: str,
        rules: AddressRules,
        tls: ssl.SSLContext,
        waiting: Deadline,
        *,
        credentials: Credentials | None = None,
    ) -> None:
        self._home, self._credentials = home, credentials
        self._usual: str | None = None
        self._rules, self._tls, self._waiting = rules, tls, waiting

    def open(self, url: str, *, first: int = 0, end: int | None = None) -> HttpFile:
        """What lies there from byte `first` on, to before byte `end`. Raises SourceError."""
        return HttpFile(self, url, first, end)

    def request(self, url: str, first: int, end: int | None) -> tuple[DeadlineSocket, http.client.HTTPResponse]:
        """The connection and the good answer that comes on it. Raises SourceError."""
        parts = self._split(url)
        known = self._credentials if _origin(parts) == _origin(urlsplit(self._home)) else None
        connection, answer = self._request_once(parts, url, first, end, self._usual if known else None)
        if answer.status == 401 and known is not None:
            asked = answer.headers.get_all("WWW-Authenticate", [])
            if (header := http_auth.authorization(asked, known, "GET", _target(parts))) is not None:
                connection.close()
                connection, answer = self._request_once(parts, url, first, end, header)
                # A digest is good for one request.
                self._usual = header if header.startswith("Basic ") else None
        if (refusal := _refusal(url, answer, first)) is not None:
            connection.close()
            raise refusal
        return connection, answer

    def attempt(self, url: str, step: Callable[[], T]) -> T:
        """The outcome of a step that waits for the network. Raises SourceUnreachable where that fails."""
        try:
            return step()
        except TimeoutError:
            text = f"{redact(url)}: no answer within {self._waiting.limit_s:g} s"
            raise SourceUnreachable(text, SourceReason.NO_ANSWER) from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or "what comes is not HTTP"
            raise SourceUnreachable(f"{redact(url)}: the connection failed: {why}", SourceReason.BROKE_OFF) from None

    def _split(self, url: str) -> SplitResult:
        if url.startswith("crypto"):
            raise SourceInvalid(f"{redact(self._home)}: what it names is encrypted", SourceReason.NO_DECODER)
        try:
            parts = urlsplit(url)
            is_ours = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_ours = False
        if not is_ours:
            text = f"{redact(self._home)}: it names {redact(url)!r}, which is neither http nor https"
            raise SourceInvalid(text, SourceReason.ADDRESS_REFUSED)
        return parts

    def _request_once(
        self, parts: SplitResult, url: str, first: int, end: int | None, authorization: str | None = None
    ) -> tuple[DeadlineSocket, http.client.HTTPResponse]:
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "User-Agent": "hermes-cameras",
            "Accept": "*/*",
            "Connection": "close",
        }
        if first or end is not None:
            headers["Range"] = f"bytes={first}-{'' if end is None else end - 1}"
        if authorization is not None:
            headers["Authorization"] = authorization
        connection = self._connected(parts, url)
        try:
            return connection, self.attempt(url, lambda: _answer(connection, _target(parts), headers))
        except SourceError:
            connection.close()
            raise

    def _connected(self, parts: SplitResult, url: str) -> DeadlineSocket:
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        tls = self._tls if parts.scheme == "https" else None
        limit_s = self._waiting.limit_s
        found = addresses.connect_to(host, port, self._rules, limit_s, label=redact(url), tls=tls)
        return DeadlineSocket(found, self._waiting)


class HttpFile:
    """What lies at a URL, as a file: its server is asked for parts if it gives them, else it is read as it comes."""

    def __init__(self, reader: HttpClient, url: str, first: int, end: int | None) -> None:
        """Raises SourceError."""
        self.name = url
        self._reader, self._end = reader, end
        self._at = self._wanted = first
        self._connection, self._answer = reader.request(url, first, end)
        length = self._answer.length
        self.nbytes = None if length is None else first + length
        self.kind = self._answer.headers.get_content_type()
        self.is_playlist = "mpegurl" in self.kind or urlsplit(url).path.endswith((".m3u8", ".m3u"))
        self._has_parts = self._answer.headers.get("Accept-Ranges", "") == "bytes" and self.nbytes is not None

    def seekable(self) -> bool:
        """Whether it can be read from anywhere."""
        return self._has_parts

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves; nothing is asked for before the next read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._wanted, io.SEEK_END: self.nbytes or 0}[whence]
        self._wanted = start + offset
        return self._wanted

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._wanted

    def read(self, size: int = _READ_NBYTES) -> bytes:
        """What is at hand, at most so many bytes; b"" at the end. Raises SourceError."""
        if self.nbytes is not None and self._wanted >= self.nbytes:
            return b""
        self._move()
        data = self._take(size)
        self._wanted = self._at
        if self.is_playlist and self._at > MAX_PLAYLIST_NBYTES:
            text = f"{redact(self.name)}: its playlist exceeds {MAX_PLAYLIST_NBYTES} bytes"
            raise SourceInvalid(text, SourceReason.TOO_LARGE)
        return data

    def close(self) -> None:
        """Closes its connection."""
        self._connection.close()

    def _move(self) -> None:
        """To where the next byte is wanted."""
        if 0 < self._wanted - self._at <= _FORWARD_NBYTES:
            while self._at < self._wanted and self._take(self._wanted - self._at):
                pass
        if self._at != self._wanted:
            self._connection.close()
            self._connection, self._answer = self._reader.request(self.name, self._wanted, self._end)
            self._at = self._wanted

    def _take(self, size: int) -> bytes:
        data = self._reader.attempt(self.name, lambda: self._answer.read1(size))
        self._at += len(data)
        if not data and self.nbytes is not None and self._at < self.nbytes:
            text = f"{redact(self.name)}: it broke off after {self._at} of {self.nbytes} bytes"
            raise SourceUnreachable(text, SourceReason.BROKE_OFF)
        return data


class _Wire:
    """What http.client takes for a socket: it may not close what the answer is still read from."""

    def __init__(self, connection: DeadlineSocket) -> None:
        self._connection = connection
        self.sendall = connection.sendall

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self._connection, _READ_NBYTES)

    def close(self) -> None:
        """Leaves the connection open."""


def _answer(connection: DeadlineSocket, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    client = http.client.HTTPConnection(headers["Host"].partition(":")[0] or "camera")
    client.sock = _Wire(connection)
    client.request("GET", target, headers=headers)
    return client.getresponse()


def _refusal(url: str, answer: http.client.HTTPResponse, first: int) -> SourceUnreachable | None:
    """Why this is not what was asked for, None if it is."""
    status = f"{redact(url)}: HTTP {answer.status}"
    if 300 <= answer.status < 400:
        there = redact(_joined(url, answer.headers.get("Location", "")))
        text = f"{status}: it redirects to {there}; no redirect is followed, name the camera's own URL"
        return SourceUnreachable(text, SourceReason.REDIRECTED)
    if answer.status >= 400:
        text = f"{status} {http.client.responses.get(answer.status, '')}".rstrip()
        return SourceUnreachable(text, _REASONS.get(answer.status, SourceReason.SERVER_ERROR))
    if first and answer.status != 206:
        return SourceUnreachable(f"{status}: its server gives no parts of it", SourceReason.SERVER_ERROR)
    return None


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _target(parts: SplitResult) -> str:
    return quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_AS_IT_IS)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
