"""Asks one device what it is and which streams it offers. Connects to no other host than the one that was named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from pipeline.cameras import SourceError, SourceReason, SourceUnreachable
from pipeline.network import addresses, tls, urls
from pipeline.network.deadline import Deadline
from pipeline.network.http_auth import Credentials, Login
from pipeline.network.http_post import HttpPoster
from pipeline.network.url_redaction import redact
from pipeline.network.urls import NetworkUrl
from pipeline.onvif import replies, stream_urls
from pipeline.onvif.replies import Element, Profile
from pipeline.onvif.soap import OperationRefused, Service, SoapClient
from pipeline.onvif.stream_urls import StreamUrl

ANSWER_S = 10.0  # for each answer
ALL_ANSWERS_S = 60.0
MAX_NBYTES = 4 << 20  # of an answer: a recorder of 64 channels takes about 1 MiB for its profiles
_MEDIA, _MEDIA2 = "http://www.onvif.org/ver10/media/wsdl", "http://www.onvif.org/ver20/media/wsdl"
_WANTS_LOGIN = frozenset({SourceReason.UNAUTHORIZED, SourceReason.FORBIDDEN})
_RTSP_SETUP = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}


@dataclass(frozen=True, slots=True)
class Stream:
    """A profile, and where it is."""

    profile: Profile
    url: StreamUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a device says of itself. clock_ahead_s: of its clock before this machine's, None if it cannot be read."""

    name: str
    firmware: str
    clock_ahead_s: float | None
    streams: tuple[Stream, ...]


def probe(url: NetworkUrl) -> Device:
    """What the device at an http(s) URL says; the login of the URL is sent to that device alone. Blocks.

    Raises SourceError: it is not reached, is no ONVIF device, or refuses the login.
    """
    return _Dialogue(url).run()


class _Dialogue:
    """The calls to one device, in their order and within ALL_ANSWERS_S."""

    def __init__(self, url: NetworkUrl) -> None:
        credentials = urls.credentials(url.url)
        self._target, self._url = url, urls.strip_credentials(url.url)
        self._credentials = None if credentials is None else Credentials(*credentials)
        login = None if self._credentials is None else Login(self._credentials)
        self._deadline = Deadline(ANSWER_S, lambda: False)
        poster = HttpPoster(tls.client(url.tls, None), self._deadline, max_nbytes=MAX_NBYTES, login=login)
        self._client = SoapClient(poster)
        self._device = Service("device", self._url)
        self._end_s = time.monotonic() + ALL_ANSWERS_S

    def run(self) -> Device:
        hosts = frozenset(map(str, addresses.resolve(self._target.host, None, ANSWER_S, label=redact(self._url))))
        ahead = self._clock_ahead()
        if self._credentials is not None:
            self._client.log_in(self._credentials, ahead or timedelta())
        name, firmware = self._name()
        media, profiles = self._profiles()
        streams = [Stream(one, self._stream_url(media, one, hosts)) for one in profiles]
        return Device(
            name=name,
            firmware=firmware,
            clock_ahead_s=None if ahead is None else ahead.total_seconds(),
            streams=tuple(streams),
        )

    def _call(self, service: Service, operation: str, **arguments: object) -> Element:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            text = f"{redact(self._url)}: it did not answer all questions within {ALL_ANSWERS_S:g} s (limit)"
            raise SourceUnreachable(text, SourceReason.NO_ANSWER)
        self._deadline.restart(min(ANSWER_S, left_s))
        return self._client.call(service, operation, **arguments)

    def _clock_ahead(self) -> timedelta | None:
        """Asked without a login, because a login is good only for seconds around the time of the device's clock."""
        before = datetime.now(UTC)
        try:
            shown = replies.utc_time(self._call(self._device, "GetSystemDateAndTime"))
        except SourceError as error:
            if isinstance(error, OperationRefused) or error.reason in _WANTS_LOGIN:
                return None
            raise
        return None if shown is None else shown - (before + (datetime.now(UTC) - before) / 2)

    def _name(self) -> tuple[str, str]:
        try:
            return replies.device_name(self._call(self._device, "GetDeviceInformation"))
        except OperationRefused:  # it shows its streams all the same
            return "", ""

    def _profiles(self) -> tuple[Service, list[Profile]]:
        """The media service and its profiles: media2 where the device has it, because media tells nothing of H.265."""
        refusal: SourceError | None = None
        for service in self._media_services():
            arguments = {"Type": "All"} if service.binding == "media2" else {}
            try:
                if found := replies.profiles(self._call(service, "GetProfiles", **arguments)):
                    return service, found
            except OperationRefused as error:
                refusal = error
        if refusal is not None:
            raise refusal
        raise SourceUnreachable(f"{redact(self._url)}: it offers no streams by ONVIF", SourceReason.NOT_VIDEO)

    def _media_services(self) -> Iterator[Service]:
        try:
            offered = replies.services(self._call(self._device, "GetServices", IncludeCapability=False))
        except OperationRefused:  # older than ONVIF 2.0
            offered = {}
        for binding, namespace in (("media2", _MEDIA2), ("media", _MEDIA)):
            if namespace in offered:
                yield Service(binding, self._reachable(offered[namespace]))
        if not offered:
            root = self._call(self._device, "GetCapabilities", Category="Media")
            if url := replies.media_url(root):
                yield Service("media", self._reachable(url))

    def _reachable(self, service_url: str) -> str:
        """A service's URL on the host that is probed: behind NAT a device names its inner host, a hostile one any."""
        own = urlsplit(self._url)
        try:
            parts = urlsplit(service_url)
            is_same = (parts.scheme, parts.hostname) == (own.scheme, own.hostname) and parts.port != 0
        except ValueError:
            return self._url
        return parts._replace(scheme=own.scheme, netloc=parts.netloc if is_same else own.netloc).geturl()

    def _stream_url(self, media: Service, profile: Profile, hosts: frozenset[str]) -> StreamUrl:
        how = {"Protocol": "RTSP"} if media.binding == "media2" else {"StreamSetup": _RTSP_SETUP}
        try:
            root = self._call(media, "GetStreamUri", ProfileToken=profile.token, **how)
        except OperationRefused as error:
            return StreamUrl(None, str(error))
        return stream_urls.usable(replies.stream_url(root), self._target, hosts)
