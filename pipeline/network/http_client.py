"""Reads http(s) URLs. Connects only to addresses that the rules allow; follows no redirect."""

from __future__ import annotations

import http.client
import io
import ssl
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pipeline.cameras import SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import addresses
from pipeline.network.addresses import AddressRules
from pipeline.network.deadline import Deadline, DeadlineSocket
from pipeline.network.http_auth import LOGIN_HINT, Login
from pipeline.network.urls import redact

MAX_PLAYLIST_NBYTES = 1 << 20
_PORTS = {"http": 80, "https": 443}
_UNQUOTED = "%/?:@!$&'()*+,;=~[]"
_MAX_SKIP_NBYTES = 1 << 18  # a longer skip ahead makes a new request
_READ_NBYTES = 1 << 16
_REASONS = {
    401: SourceReason.UNAUTHORIZED,
    403: SourceReason.FORBIDDEN,
    404: SourceReason.NOT_FOUND,
    410: SourceReason.NOT_FOUND,
}

T = TypeVar("T")


class HttpClient:
    """Opens URLs for one camera. Its credentials are sent to the camera's own scheme, host and port only."""

    def __init__(
        self,
        camera_url: str,
        rules: AddressRules,
        tls: ssl.SSLContext,
        deadline: Deadline,
        *,
        login: Login | None = None,
    ) -> None:
        """`camera_url` without credentials; `deadline` bounds every wait."""
        self._camera_url = camera_url
        self._login = login
        self._rules, self._tls, self._deadline = rules, tls, deadline

    def open(self, url: str, *, first: int = 0, end: int | None = None) -> HttpFile:
        """The body at `url` from byte `first` up to, not including, byte `end`. Raises SourceError."""
        return HttpFile(self, url, first, end)

    def request(self, url: str, first: int, end: int | None) -> tuple[DeadlineSocket, http.client.HTTPResponse]:
        """Requests `url`; returns the connection and its successful response. Raises SourceError."""
        parts = self._split(url)
        login = self._login if _origin(parts) == _origin(urlsplit(self._camera_url)) else None
        connection, response = self._request_once(parts, url, first, end, login)
        challenges = response.headers.get_all("WWW-Authenticate", []) if response.status == 401 else []
        if login is not None and challenges and login.accept(challenges):
            connection.close()
            connection, response = self._request_once(parts, url, first, end, login)
        if (refusal := _refusal(url, response, first)) is not None:
            connection.close()
            raise refusal
        return connection, response

    def attempt(self, url: str, step: Callable[[], T]) -> T:
        """The result of `step`, which waits for the network. Raises SourceUnreachable where the network fails."""
        try:
            return step()
        except TimeoutError:
            text = f"{redact(url)}: no answer within {self._deadline.limit_s:g} s"
            raise SourceUnreachable(text, SourceReason.NO_ANSWER) from None
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "strerror", None) or "the response is not HTTP"
            text = f"{redact(url)}: the connection failed: {cause}"
            raise SourceUnreachable(text, SourceReason.BROKE_OFF) from None

    def _split(self, url: str) -> SplitResult:
        if url.startswith("crypto"):
            text = f"{redact(self._camera_url)}: its stream is encrypted, which is not supported"
            raise SourceInvalid(text, SourceReason.NO_DECODER)
        try:
            parts = urlsplit(url)
            is_supported = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_supported = False
        if not is_supported:
            text = f"{redact(self._camera_url)}: it refers to {redact(url)!r}, which is neither http nor https"
            raise SourceInvalid(text, SourceReason.ADDRESS_REFUSED)
        return parts

    def _request_once(
        self, parts: SplitResult, url: str, first: int, end: int | None, login: Login | None
    ) -> tuple[DeadlineSocket, http.client.HTTPResponse]:
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "User-Agent": "hermes-cameras",
            "Accept": "*/*",
            "Connection": "close",
        }
        if first or end is not None:
            headers["Range"] = f"bytes={first}-{'' if end is None else end - 1}"
        authorization = None if login is None else login.header("GET", _target(parts))
        if authorization is not None:
            headers["Authorization"] = authorization
        connection = self._connect(parts, url)
        try:
            return connection, self.attempt(url, lambda: _send_request(connection, _target(parts), headers))
        except SourceError:
            connection.close()
            raise

    def _connect(self, parts: SplitResult, url: str) -> DeadlineSocket:
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        tls = self._tls if parts.scheme == "https" else None
        limit_s = self._deadline.limit_s
        connection = addresses.connect_to(host, port, self._rules, limit_s, label=redact(url), tls=tls)
        return DeadlineSocket(connection, self._deadline)


class HttpFile:
    """The body at a URL as a file. It is seekable where the server supports byte ranges, else a stream."""

    def __init__(self, client: HttpClient, url: str, first: int, end: int | None) -> None:
        """Sends the first request. Raises SourceError."""
        self.name = url
        self._client, self._end = client, end
        self._received = self._position = first  # offsets of the next byte: in the response, and to be read
        self._connection, self._response = client.request(url, first, end)
        length = self._response.length
        self.nbytes = None if length is None else first + length
        self.content_type = self._response.headers.get_content_type()
        self.is_playlist = "mpegurl" in self.content_type or urlsplit(url).path.endswith((".m3u8", ".m3u"))
        self._has_ranges = self._response.headers.get("Accept-Ranges", "") == "bytes" and self.nbytes is not None

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
        if self.is_playlist and self._received > MAX_PLAYLIST_NBYTES:
            text = f"{redact(self.name)}: its playlist exceeds {MAX_PLAYLIST_NBYTES} bytes"
            raise SourceInvalid(text, SourceReason.TOO_LARGE)
        return data

    def close(self) -> None:
        """Closes its connection."""
        self._connection.close()

    def _move_to_position(self) -> None:
        if 0 < self._position - self._received <= _MAX_SKIP_NBYTES:
            while self._received < self._position and self._receive(self._position - self._received):
                pass
        if self._received != self._position:
            self._connection.close()
            self._connection, self._response = self._client.request(self.name, self._position, self._end)
            self._received = self._position

    def _receive(self, size: int) -> bytes:
        data = self._client.attempt(self.name, lambda: self._response.read1(size))
        self._received += len(data)
        if not data and self.nbytes is not None and self._received < self.nbytes:
            text = f"{redact(self.name)}: the connection ended after {self._received} of {self.nbytes} bytes"
            raise SourceUnreachable(text, SourceReason.BROKE_OFF)
        return data


class _HttpSocket:
    """What http.client uses as a socket. Its close() does nothing, because the response is still read from it."""

    def __init__(self, connection: DeadlineSocket) -> None:
        self._connection = connection
        self.sendall = connection.sendall

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self._connection, _READ_NBYTES)

    def close(self) -> None:
        """Leaves the connection open."""


def _send_request(connection: DeadlineSocket, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    client = http.client.HTTPConnection(headers["Host"].partition(":")[0] or "camera")
    client.sock = _HttpSocket(connection)
    client.request("GET", target, headers=headers)
    return client.getresponse()


def _refusal(url: str, response: http.client.HTTPResponse, first: int) -> SourceUnreachable | None:
    """Why the response is not the requested body, None if it is."""
    status = f"{redact(url)}: HTTP {response.status}"
    if 300 <= response.status < 400:
        target = redact(_join(url, response.headers.get("Location", "")))
        text = f"{status}: it redirects to {target}; redirects are not followed: use the camera's own URL"
        return SourceUnreachable(text, SourceReason.REDIRECTED)
    if response.status >= 400:
        text = f"{status} {http.client.responses.get(response.status, '')}".rstrip()
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            text += f"; {LOGIN_HINT}"
        return SourceUnreachable(text, _REASONS.get(response.status, SourceReason.SERVER_ERROR))
    if first and response.status != 206:
        return SourceUnreachable(f"{status}: its server does not support byte ranges", SourceReason.SERVER_ERROR)
    return None


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _target(parts: SplitResult) -> str:
    return quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_UNQUOTED)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
