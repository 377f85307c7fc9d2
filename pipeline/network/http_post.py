"""Sends one POST and reads its answer whole, within limits of time and size. Follows no redirect."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import http_wire
from pipeline.network.deadline import Deadline
from pipeline.network.http_auth import Login
from pipeline.network.http_wire import USER_AGENT, connect, join, send_request, target
from pipeline.network.tls import TlsClient
from pipeline.network.url_redaction import redact, redact_logins
from pipeline.network.urls import server_address


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """What a server answered, of any status but a redirect."""

    status: int
    body: bytes


class HttpPoster:
    """Posts to the server that a person named, whatever its address."""

    def __init__(self, tls: TlsClient, deadline: Deadline, *, max_nbytes: int, login: Login | None = None) -> None:
        """`deadline` bounds every wait, `max_nbytes` each answer."""
        self._tls, self._deadline, self._max_nbytes, self._login = tls, deadline, max_nbytes, login

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, is_logged_in: bool) -> PostAnswer:
        """The answer at a well-formed http(s) URL without credentials; is_logged_in: a challenge is answered, once.

        Raises SourceError: it is not reached, is not HTTP, redirects, or its answer is too large.
        """
        login = self._login if is_logged_in else None
        answer, challenges = self._post_once(url, body, headers, login)
        if answer.status == http.HTTPStatus.UNAUTHORIZED and login is not None and login.accept(challenges):
            answer, _ = self._post_once(url, body, headers, login)
        return answer

    def _post_once(
        self, url: str, body: bytes, headers: Mapping[str, str], login: Login | None
    ) -> tuple[PostAnswer, list[str]]:
        parts = urlsplit(url)
        authorization = None if login is None else login.header("POST", target(parts))
        own = {"Host": server_address(parts), "User-Agent": USER_AGENT, "Connection": "close"}
        sent = {**own, **headers} | ({"Authorization": authorization} if authorization else {})
        connection = connect(url, None, self._tls, self._deadline)
        try:
            response = http_wire.attempt(
                url, self._deadline, lambda: send_request(connection, "POST", target(parts), sent, body)
            )
            if 300 <= response.status < 400:
                goal = redact_logins(join(url, response.headers.get("Location", "")))
                text = f"{redact(url)}: HTTP {response.status}: it redirects to {goal}, which is not followed"
                raise SourceUnreachable(f"{text}: name that one if it is right", SourceReason.REDIRECTED)
            received = http_wire.attempt(url, self._deadline, lambda: response.read(self._max_nbytes + 1))
        finally:
            connection.close()
        if len(received) > self._max_nbytes:
            text = f"{redact(url)}: its answer is longer than {self._max_nbytes:,} bytes (limit)"
            raise SourceInvalid(text, SourceReason.TOO_LARGE)
        if response.length:
            text = f"{redact(url)}: its answer broke off, {response.length:,} bytes before its end"
            raise SourceUnreachable(text, SourceReason.BROKE_OFF)
        return PostAnswer(response.status, received), response.headers.get_all("WWW-Authenticate", [])
