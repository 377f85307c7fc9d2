"""What libav reads for each kind of URL, and which other URLs a stream may open."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.cameras import SourceError, SourceInvalid, SourceReason
from pipeline.network import addresses, urls
from pipeline.network.deadline import Deadline
from pipeline.network.http_auth import Credentials, Login
from pipeline.network.http_client import HttpClient, HttpFile
from pipeline.network.rtsp_proxy import RtspProxy
from pipeline.network.urls import FileUrl, NetworkUrl, redact
from pipeline.sources import guarded_files
from pipeline.sources.guarded_files import EmptyFile, GuardedFile, ReadableFile
from pipeline.sources.ingest_config import IngestConfig

# Only these formats are video. Above all no format that lists other files (concat, playlists) is among them.
_FILE_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,ivf,h264,hevc,obu,av1,mpjpeg,mjpeg,m4v,nut,mxf,dv,rm,gif,apng,"
    "yuv4mpegpipe,wav,mp3,aac"
)
_HTTP_FORMATS = f"{_FILE_FORMATS},hls,ac3,eac3,webvtt"
_FORMAT_OF_TYPE = {"multipart/x-mixed-replace": "mpjpeg"}
_FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FILE_FORMATS}
_RTSP_OPTIONS = {"format_whitelist": "rtsp,sdp", "protocol_whitelist": "rtsp,rtp,tcp", "rtsp_transport": "tcp"}
_HTTP_OPTIONS = {"protocol_whitelist": "http,https", "format_whitelist": _HTTP_FORMATS}
# HttpClient makes all connections, so libav has none to keep open.
_PLAYLIST_OPTIONS = {"http_persistent": "0", "http_multiple": "0", "http_seekable": "0"}
MAX_NESTED_OPENS = 64  # a playlist of thousands must not cause thousands of connections

OpenNested = Callable[[str, int, Mapping[str, str]], ReadableFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class LibavArguments:
    """The arguments with which libav opens a stream.

    file: a name that libav opens itself, or a file object that it reads.
    options: libav's options.
    format: the name of the format, None if libav detects it.
    open_nested: opens what the stream refers to; None where libav does so itself, within its options.
    """

    file: str | ReadableFile
    options: Mapping[str, str]
    format: str | None = None
    open_nested: OpenNested | None = None


class LibavInput(Protocol):
    """The connection behind one stream of libav's."""

    def open(self) -> LibavArguments:
        """Connects, once. Blocks for at most about open_timeout_s. Raises SourceError."""

    def restart(self, limit_s: float) -> None:
        """Sets the deadline for the next data to `limit_s` from now."""

    def close(self) -> None:
        """Closes what `open` opened, if anything."""

    @property
    def failure(self) -> SourceError | None:
        """Why the input ended early, None if it did not or if the reason is unknown here."""

    @property
    def note(self) -> str | None:
        """A fact about the input that the operator should know, None without one."""


class FileInput:
    """A local file of any name."""

    failure = note = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> LibavArguments:
        """libav opens the file itself."""
        return LibavArguments(file=f"file:{self._path}", options=_FILE_OPTIONS)

    def restart(self, limit_s: float) -> None:
        """Reading a file has no deadline."""

    def close(self) -> None:
        """libav closes what it opens."""


class RtspInput:
    """An RTSP server, behind a local proxy."""

    def __init__(self, url: NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool]) -> None:
        self._url, self._config, self._is_stopped = url, config, is_stopped
        self._proxy: RtspProxy | None = None

    def open(self) -> LibavArguments:
        """Connects the proxy to the camera. Raises SourceError."""
        label, port = redact(self._url.url), self._url.port or urls.DEFAULT_PORTS[self._url.scheme]
        tls = _tls(self._config) if self._url.scheme == "rtsps" else None
        rules, timeout_s = self._config.address_rules, self._config.open_timeout_s

        def connect() -> socket.socket:
            return addresses.connect_to(self._url.host, port, rules, timeout_s, label=label, tls=tls)

        login, base_url = _login(self._url), urls.base_of(self._url.url)
        self._proxy = RtspProxy(connect, label, self._is_stopped, base_url=base_url, login=login)
        return LibavArguments(file=urls.with_local_port(self._url.url, self._proxy.port), options=_RTSP_OPTIONS)

    @property
    def failure(self) -> SourceError | None:
        """Why the proxy ended the connection, None if it did not."""
        return None if self._proxy is None else self._proxy.failure

    @property
    def note(self) -> str | None:
        """What is odd about the camera's packets."""
        return None if self._proxy is None else self._proxy.note

    def restart(self, limit_s: float) -> None:
        """libav applies its own timeouts to the connection with the proxy."""

    def close(self) -> None:
        """Ends the connection."""
        if self._proxy is not None:
            self._proxy.close()


class HttpInput:
    """An http(s) server. Every URL that a playlist refers to is opened here, by the same rules."""

    note = None

    def __init__(self, url: NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool]) -> None:
        """Starts the deadline. Raises SourceInvalid if ca_file cannot be read."""
        self._label, self._url = redact(url.url), urls.strip_credentials(url.url)
        self._deadline = Deadline(config.open_timeout_s, is_stopped)
        self._client = HttpClient(self._url, config.address_rules, _tls(config), self._deadline, login=_login(url))
        self._nested_opens = 0
        self._files: list[GuardedFile] = []
        self.failure: SourceError | None = None

    def open(self) -> LibavArguments:
        """Requests the URL. Raises SourceError."""
        file = self._client.open(self._url)
        return LibavArguments(
            file=self._guard(file),
            options=_HTTP_OPTIONS | (_PLAYLIST_OPTIONS if file.is_playlist else {}),
            format="hls" if file.is_playlist else _FORMAT_OF_TYPE.get(file.content_type),
            open_nested=self._open_nested,
        )

    def _open_nested(self, url: str, flags: int, options: Mapping[str, str]) -> ReadableFile:
        """A URL of a playlist: the next segment, or the playlist again. Raises nothing: see `failure`."""
        if isinstance(self.failure, SourceInvalid) or self._deadline.is_expired:
            return EmptyFile()
        self._nested_opens += 1
        if self._nested_opens > MAX_NESTED_OPENS:
            text = f"{self._label}: its playlist leads to more than {MAX_NESTED_OPENS} URLs before the first frame"
            self.failure = SourceInvalid(text, SourceReason.TOO_LARGE)
            return EmptyFile()
        try:
            end = options.get("end_offset")
            file = self._client.open(url, first=int(options.get("offset", 0)), end=int(end) if end else None)
        except SourceError as error:
            self.failure = error
            return EmptyFile()
        self.failure = None
        return self._guard(file)

    def restart(self, limit_s: float) -> None:
        """Sets the deadline for the next data to `limit_s` from now."""
        self._deadline.restart(limit_s)
        self._nested_opens = 0

    def close(self) -> None:
        """Closes every connection."""
        for file in self._files:
            file.close()

    def _guard(self, file: HttpFile) -> GuardedFile:
        self._files = [earlier for earlier in self._files if not earlier.is_closed]
        self._files.append(guarded_files.guard(file, self._set_failure))
        return self._files[-1]

    def _set_failure(self, error: SourceError) -> None:
        self.failure = error


def _login(url: NetworkUrl) -> Login | None:
    pair = urls.credentials(url.url)
    return None if pair is None else Login(Credentials(*pair))


def _tls(config: IngestConfig) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if config.ca_file is not None:
        try:
            context.load_verify_locations(config.ca_file)
        except (OSError, ssl.SSLError) as error:
            text = f"ingest.ca_file {str(config.ca_file)!r}: {error.strerror}"
            raise SourceInvalid(text, SourceReason.TLS) from error
    return context


def input_for(url: FileUrl | NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool]) -> LibavInput:
    """The input for a URL, not yet opened. Raises SourceInvalid."""
    if isinstance(url, FileUrl):
        return FileInput(url.path)
    if url.scheme in urls.LIVE_SCHEMES:
        return RtspInput(url, config, is_stopped)
    return HttpInput(url, config, is_stopped)
