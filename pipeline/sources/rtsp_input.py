"""RTSP for libav: it opens a port of this machine, behind which a proxy speaks with the camera."""

from __future__ import annotations

import socket
from collections.abc import Callable

from pipeline.cameras import SourceError
from pipeline.network import addresses, rtsp_urls, urls
from pipeline.network.rtsp_proxy import RtspProxy
from pipeline.network.url_redaction import redact
from pipeline.network.urls import NetworkUrl
from pipeline.sources import camera_logins
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.libav_inputs import LibavArguments

_RTSP_OPTIONS = {"format_whitelist": "rtsp,sdp", "protocol_whitelist": "rtsp,rtp,tcp", "rtsp_transport": "tcp"}


class RtspInput:
    """An RTSP server, behind a local proxy."""

    def __init__(self, url: NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool]) -> None:
        self._url, self._config, self._is_stopped = url, config, is_stopped
        self._proxy: RtspProxy | None = None

    def open(self) -> LibavArguments:
        """Connects the proxy to the camera. Raises SourceError."""
        label, port = redact(self._url.url), self._url.port or urls.DEFAULT_PORTS[self._url.scheme]
        tls = camera_logins.tls(self._url, self._config) if self._url.scheme == "rtsps" else None
        rules, timeout_s = self._config.address_rules, self._config.open_timeout_s

        def connect() -> socket.socket:
            return addresses.connect_to(self._url.host, port, rules, timeout_s, label=label, tls=tls)

        login, base_url = camera_logins.login(self._url), rtsp_urls.base_of(self._url.url)
        self._proxy = RtspProxy(connect, label, self._is_stopped, base_url=base_url, login=login)
        return LibavArguments(file=rtsp_urls.with_local_port(self._url.url, self._proxy.port), options=_RTSP_OPTIONS)

    @property
    def failure(self) -> SourceError | None:
        """Why the proxy ended the connection, None if it did not."""
        return None if self._proxy is None else self._proxy.failure

    @property
    def note(self) -> str | None:
        """What is odd about the camera's packets."""
        return None if self._proxy is None else self._proxy.note

    @property
    def has_pictures(self) -> bool:
        """Whether RTP arrives."""
        return self._proxy is not None and self._proxy.has_packets

    def restart(self, limit_s: float) -> None:
        """Sets the deadline for the next data to `limit_s` from now."""
        if self._proxy is not None:
            self._proxy.restart(limit_s)

    def close(self) -> None:
        """Ends the connection."""
        if self._proxy is not None:
            self._proxy.close()
