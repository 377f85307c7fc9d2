"""Requests http(s) URLs. Connects only to addresses that the rules allow; follows redirects to the same host only."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from pipeline.cameras import SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import http_wire
from pipeline.network.addresses import AddressRules
from pipeline.network.deadline import Deadline, DeadlineSocket
from pipeline.network.http_auth import LOGIN_HINT, Login
from pipeline.network.http_file import HttpFile
from pipeline.network.http_wire import PORTS, USER_AGENT, connect, join, send_request, target
from pipeline.network.tls import TlsClients
from pipeline.network.url_redaction import redact, redact_logins
from pipeline.network.urls import server_address

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_MAX_COOKIES, _MAX_COOKIE = 32, 4096
_REASONS = {
    401: SourceReason.UNAUTHORIZED,
    403: SourceReason.FORBIDDEN,
    404: SourceReason.NOT_FOUND,
    410: SourceReason.NOT_FOUND,
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Cookie:
    """is_secure: it is sent over TLS alone."""

    value: str
    is_secure: bool


class HttpClient:
    """Opens URLs for one camera. Its login and its cookies are sent to the camera's own scheme, host and port only.

    Where the camera redirects from http to https, also there.
    """

    def __init__(
        self,
        camera_url: str,
        rules: AddressRules,
        tls: TlsClients,
        deadline: Deadline,
        *,
        login: Login | None = None,
    ) -> None:
        """`camera_url` without credentials; tls: `own` is for the camera's host; `deadline` bounds every wait."""
        self._camera_url = camera_url
        self._own = {_origin(urlsplit(camera_url))}  # where login and cookies are sent
        self._login = login
        self._cookies: dict[str, _Cookie] = {}  # of the camera's own host
        self._rules, self._tls, self._deadline = rules, tls, deadline

    def open(
        self, url: str, *, first: int = 0, end: int | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpFile:
        """The body at `url` from byte `first` up to, not including, byte `end`. Raises SourceError."""
        return HttpFile(self, url, first, end, headers)

    def request(
        self, url: str, first: int, end: int | None, headers: Mapping[str, str]
    ) -> tuple[DeadlineSocket, http.client.HTTPResponse, str]:
        """See Requests.request. Redirects are followed to the same host, but not from https to http."""
        for num_followed in itertools.count():
            connection, response = self._request(url, first, end, headers)
            goal = join(url, response.headers.get("Location", ""))
            is_followed = response.status in _REDIRECTS and _may_follow(url, goal)
            if not is_followed or num_followed == _MAX_REDIRECTS:
                break
            connection.close()
            self._follow_to_tls(url, goal)
            url = goal
        if (refusal := _refusal(url, response, first)) is not None:
            connection.close()
            raise refusal
        return connection, response, url

    def _request(
        self, url: str, first: int, end: int | None, headers: Mapping[str, str]
    ) -> tuple[DeadlineSocket, http.client.HTTPResponse]:
        parts = self._split(url)
        login = self._login if self._is_own(parts) else None
        headers = headers if end is None and not first else {**headers, "Range": _range(first, end)}
        connection, response = self._request_once(parts, url, headers, login)
        challenges = response.headers.get_all("WWW-Authenticate", []) if response.status == 401 else []
        if login is not None and challenges and login.accept(challenges):
            connection.close()
            connection, response = self._request_once(parts, url, headers, login)
        return connection, response

    def attempt(self, url: str, step: Callable[[], T]) -> T:
        """The result of `step`, which waits for the network. Raises SourceUnreachable where the network fails."""
        return http_wire.attempt(url, self._deadline, step)

    def _split(self, url: str) -> SplitResult:
        if url.startswith("crypto"):
            text = f"{redact(self._camera_url)}: its stream is encrypted, which is not supported"
            raise SourceInvalid(text, SourceReason.NO_DECODER)
        try:
            parts = urlsplit(url)
            is_supported = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_supported = False
        if not is_supported:
            text = f"{redact(self._camera_url)}: it refers to {redact(url)!r}, which is neither http nor https"
            raise SourceInvalid(text, SourceReason.ADDRESS_REFUSED)
        return parts

    def _request_once(
        self, parts: SplitResult, url: str, headers: Mapping[str, str], login: Login | None
    ) -> tuple[DeadlineSocket, http.client.HTTPResponse]:
        is_own = self._is_own(parts)
        authorization = None if login is None else login.header("GET", target(parts))
        own = {
            "Host": server_address(parts),
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Connection": "close",
            "Authorization": authorization,
            "Cookie": self._cookie_header(parts.scheme) if is_own else None,
        }
        sent = {name: value for name, value in own.items() if value} | dict(headers)
        connection = self._connect(parts, url)
        try:
            response = self.attempt(url, lambda: send_request(connection, "GET", target(parts), sent))
        except SourceError:
            connection.close()
            raise
        if is_own:
            self._keep_cookies(response)
        return connection, response

    def _is_own(self, parts: SplitResult) -> bool:
        """Whether it is the camera: its scheme, host and port, or those over TLS to which it redirected."""
        return _origin(parts) in self._own

    def _follow_to_tls(self, url: str, goal: str) -> None:
        """Records that the camera is at `goal` too, where it redirects from http to https. Raises SourceInvalid."""
        old, new = urlsplit(url), self._split(goal)
        if old.scheme == "http" and new.scheme == "https" and self._is_own(old):
            self._own.add(_origin(new))

    def _cookie_header(self, scheme: str) -> str:
        cookies = self._cookies.items()
        return "; ".join(f"{name}={one.value}" for name, one in cookies if scheme == "https" or not one.is_secure)

    def _keep_cookies(self, response: http.client.HTTPResponse) -> None:
        for header in response.headers.get_all("Set-Cookie", []):
            pair, *attributes = (part.strip() for part in header.split(";"))
            name, _, value = pair.partition("=")
            is_known = name in self._cookies or len(self._cookies) < _MAX_COOKIES
            if name and is_known and len(header) <= _MAX_COOKIE and header.isprintable():
                self._cookies[name] = _Cookie(value, "secure" in map(str.lower, attributes))

    def _connect(self, parts: SplitResult, url: str) -> DeadlineSocket:
        is_camera = parts.hostname == urlsplit(self._camera_url).hostname
        tls = self._tls.own if is_camera else self._tls.others
        return connect(url, self._rules, tls, self._deadline)


def _refusal(url: str, response: http.client.HTTPResponse, first: int) -> SourceUnreachable | None:
    """Why the response is not the requested body, None if it is."""
    status = f"{redact(url)}: HTTP {response.status}"
    if response.status == http.HTTPStatus.NOT_MODIFIED:
        return None
    if 300 <= response.status < 400:
        goal = redact_logins(join(url, response.headers.get("Location", "")))
        text = f"{status}: it redirects to {goal}, which is not followed: use that URL"
        return SourceUnreachable(text, SourceReason.REDIRECTED)
    if response.status >= 400:
        text = f"{status} {http.client.responses.get(response.status, '')}".rstrip()
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            text += f"; {LOGIN_HINT}"
        return SourceUnreachable(text, _REASONS.get(response.status, SourceReason.SERVER_ERROR))
    if first and response.status != 206:
        return SourceUnreachable(f"{status}: its server does not support byte ranges", SourceReason.SERVER_ERROR)
    return None


def _range(first: int, end: int | None) -> str:
    return f"bytes={first}-{'' if end is None else end - 1}"


def _may_follow(url: str, goal: str) -> bool:
    """Whether a redirect stays on its host, and does not leave TLS."""
    try:
        old, new = urlsplit(url), urlsplit(goal)
        is_same = bool(new.hostname) and new.hostname == old.hostname
    except ValueError:
        return False
    return is_same and new.scheme in (old.scheme, "https") and new.scheme in PORTS


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
