"""Calls the operations of onvif.wsdl, our own file, which loads no other. zeep writes and signs the requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import zeep
from zeep.wsse.username import UsernameToken

from pipeline.cameras import SourceReason, SourceUnreachable
from pipeline.network.http_auth import COMMAND_LOGIN_HINT, Credentials
from pipeline.network.http_post import HttpPoster, PostAnswer
from pipeline.network.url_redaction import redact
from pipeline.onvif import replies
from pipeline.onvif.replies import Element, Fault, NotSoap

_WSDL = Path(__file__).parent / "onvif.wsdl"
_LOGIN_CODES = frozenset(
    {"NotAuthorized", "FailedAuthentication", "FailedCheck", "InvalidSecurity", "SenderNotAuthorized"}
)
_LOGIN_TEXT = re.compile(r"(?i)not ?authori[sz]ed")  # of devices that name no code
_FORBIDDEN_HINT = "it refuses this login, or this machine: the user may lack the right, or the device be locked"


class OperationRefused(SourceUnreachable):
    """The device answers an operation with a fault that is not about the login."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a device: its binding in onvif.wsdl, and its URL."""

    binding: str
    url: str


class _Transport(zeep.Transport):  # type: ignore[misc]
    """Reads the WSDL from its file and nothing else; posts by our client."""

    def __init__(self, poster: HttpPoster) -> None:
        super().__init__()
        self._poster = poster
        self.is_logged_in = False

    def load(self, url: str) -> bytes:
        assert url == str(_WSDL)
        return _WSDL.read_bytes()

    def post(self, address: str, message: bytes, headers: Mapping[str, str]) -> PostAnswer:
        return self._poster.post(address, message, headers, is_logged_in=self.is_logged_in)


class _DeviceToken(UsernameToken):  # type: ignore[misc]
    """A password digest (WS-Security) of the time that the device's clock shows."""

    def __init__(self, credentials: Credentials, clock_ahead: timedelta) -> None:
        super().__init__(credentials.user, credentials.password, use_digest=True, zulu_timestamp=True)
        self._clock_ahead = clock_ahead

    def apply(self, envelope: Element, headers: Mapping[str, str]) -> Any:
        try:
            self.created = datetime.now(UTC) + self._clock_ahead
        except OverflowError:  # of a device whose clock shows the end of the year 9999
            self.created = datetime.max.replace(tzinfo=UTC)
        return super().apply(envelope, headers)


class SoapClient:
    """Calls the services of one device."""

    def __init__(self, poster: HttpPoster) -> None:
        self._transport = _Transport(poster)
        settings = zeep.Settings(raw_response=True, forbid_dtd=True, forbid_entities=True, forbid_external=True)
        self._client = zeep.Client(str(_WSDL), transport=self._transport, settings=settings)

    def log_in(self, credentials: Credentials, clock_ahead: timedelta) -> None:
        """Signs every call from here on. clock_ahead: of the device's clock, before this machine's."""
        self._client.wsse = _DeviceToken(credentials, clock_ahead)
        self._transport.is_logged_in = True

    def call(self, service: Service, operation: str, **arguments: object) -> Element:
        """The answer. Raises SourceError; OperationRefused where the device knows us, but not the operation."""
        proxy = self._client.create_service(f"{{urn:hermes:onvif}}{service.binding}", service.url)
        answer: PostAnswer = getattr(proxy, operation)(**arguments)
        label = redact(service.url)
        try:
            root = replies.parse(answer.body)
        except NotSoap as error:
            raise _no_answer(label, operation, answer.status, str(error)) from None
        if (fault := replies.fault(root)) is not None:
            raise _refusal(label, operation, fault)
        return root


def _no_answer(label: str, operation: str, status: int, why: str) -> SourceUnreachable:
    if status == 401:
        return SourceUnreachable(f"{label}: {operation}: HTTP 401; {COMMAND_LOGIN_HINT}", SourceReason.UNAUTHORIZED)
    if status == 403:
        return SourceUnreachable(f"{label}: {operation}: HTTP 403; {_FORBIDDEN_HINT}", SourceReason.FORBIDDEN)
    if status in (404, 405, 501):
        text = f"{label}: HTTP {status}: it has no ONVIF at this port and path; `cameras discover` shows where it is"
        return SourceUnreachable(text, SourceReason.NOT_FOUND)
    text = f"{label}: {operation}: HTTP {status}, and its answer cannot be read: {why}"
    return SourceUnreachable(text, SourceReason.SERVER_ERROR)


def _refusal(label: str, operation: str, fault: Fault) -> SourceUnreachable:
    if fault.codes & _LOGIN_CODES or _LOGIN_TEXT.search(fault.text):
        return SourceUnreachable(f"{label}: {operation}: {fault.text}; {COMMAND_LOGIN_HINT}", SourceReason.UNAUTHORIZED)
    return OperationRefused(f"{label}: it refuses {operation}: {fault.text}", SourceReason.SERVER_ERROR)
