"""Connects to one HTTP server and sends one request. Knows neither logins nor redirects."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pipeline.cameras import SourceReason, SourceUnreachable
from pipeline.network import addresses
from pipeline.network.addresses import AddressRules
from pipeline.network.deadline import Deadline, DeadlineSocket
from pipeline.network.tls import TlsClient
from pipeline.network.url_redaction import redact
from pipeline.network.urls import host_of

PORTS = {"http": 80, "https": 443}
USER_AGENT = "hermes-cameras"
_UNQUOTED = "%/?:@!$&'()*+,;=~[]"
_READ_NBYTES = 1 << 16

T = TypeVar("T")


class _HttpSocket:
    """What http.client uses as a socket. Its close() does nothing, because the response is still read from it."""

    def __init__(self, connection: DeadlineSocket) -> None:
        self._connection = connection
        self.sendall = connection.sendall

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self._connection, _READ_NBYTES)

    def close(self) -> None:
        """Leaves the connection open."""


def connect(url: str, rules: AddressRules | None, tls: TlsClient, deadline: Deadline) -> DeadlineSocket:
    """A connection to the server of a well-formed http(s) URL, over TLS where it is https. Raises SourceError."""
    parts = urlsplit(url)
    port, used = parts.port or PORTS[parts.scheme], tls if parts.scheme == "https" else None
    connection = addresses.connect_to(host_of(parts), port, rules, deadline.limit_s, label=redact(url), tls=used)
    return DeadlineSocket(connection, deadline)


def send_request(
    connection: DeadlineSocket, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
) -> http.client.HTTPResponse:
    """Sends the request; its response, whose body is still to be read. Raises OSError, HTTPException."""
    client = http.client.HTTPConnection(headers["Host"].partition(":")[0] or "camera")
    client.sock = _HttpSocket(connection)
    client.request(method, target, body=body, headers=headers)
    return client.getresponse()


def attempt(url: str, deadline: Deadline, step: Callable[[], T]) -> T:
    """The result of `step`, which waits for the network. Raises SourceUnreachable where the network fails."""
    try:
        return step()
    except TimeoutError:
        text = f"{redact(url)}: no answer within {deadline.limit_s:g} s"
        raise SourceUnreachable(text, SourceReason.NO_ANSWER) from None
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "strerror", None) or "the response is not HTTP"
        text = f"{redact(url)}: the connection failed: {cause}"
        raise SourceUnreachable(text, SourceReason.BROKE_OFF) from None


def target(parts: SplitResult) -> str:
    """What stands in the request line."""
    return quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_UNQUOTED)


def join(url: str, location: str) -> str:
    """The URL to which a page at `url` refers as `location`."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location
