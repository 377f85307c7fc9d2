"""What libav is given to read for each kind of URL, and what a stream may open in its turn."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pipeline.cameras import SourceError, SourceInvalid, SourceReason
from pipeline.network import addresses, urls
from pipeline.network.deadline import Deadline
from pipeline.network.http_auth import Credentials
from pipeline.network.http_client import HttpClient, HttpFile
from pipeline.network.rtsp_proxy import RtspProxy
from pipeline.network.urls import FileUrl, NetworkUrl, redact
from pipeline.sources.ingest_config import IngestConfig

# Nothing else is taken for a video, above all no list that names further files.
_FILES = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,ivf,h264,hevc,obu,av1,mpjpeg,mjpeg,m4v,nut,mxf,dv,rm,gif,apng,"
    "yuv4mpegpipe,wav,mp3,aac"
)
_STREAMS = f"{_FILES},hls,ac3,eac3,webvtt"
_FORMATS = {"multipart/x-mixed-replace": "mpjpeg"}
_RTSP = {"format_whitelist": "rtsp,sdp", "protocol_whitelist": "rtsp,rtp,tcp", "rtsp_transport": "tcp"}
MOST_OPENS = 64  # a list of thousands would make us knock at thousands of doors
_RTSP_PORTS = {"rtsp": 554, "rtsps": 322}


class ReadableFile(Protocol):
    """A file as libav reads it."""

    def read(self, size: int) -> bytes:
        """At most so many bytes; b"" at the end."""

    def close(self) -> None:
        """Frees what it holds."""


class LibavInput(Protocol):
    """One way in, for one stream."""

    @property
    def file(self) -> str | ReadableFile:
        """What libav opens: a name of its own, or a file of ours."""

    @property
    def format(self) -> str | None:
        """What libav must take it for, None if it may find out."""

    @property
    def options(self) -> dict[str, str]:
        """libav's options."""

    @property
    def open_more(self) -> Callable[[str, int, Mapping[str, str]], ReadableFile] | None:
        """Opens what the stream names in its turn, None where libav opens by itself what its options allow."""

    @property
    def failure(self) -> SourceError | None:
        """Why a file of ours came to an early end, None if none did."""

    @property
    def note(self) -> str | None:
        """What an operator should know of this way in, None where there is nothing."""

    def restart(self, limit_s: float) -> None:
        """From now on it has `limit_s` to give something."""

    def close(self) -> None:
        """Closes what was opened."""


class FileInput:
    """A local file, whatever its name looks like."""

    format = open_more = failure = note = None

    def __init__(self, path: Path) -> None:
        self.file = f"file:{path}"
        self.options = {"protocol_whitelist": "file", "format_whitelist": _FILES}

    def restart(self, limit_s: float) -> None:
        """A file is not waited for."""

    def close(self) -> None:
        """libav closes what it opens."""


class RtspInput:
    """An RTSP server, behind a relay of ours."""

    format = open_more = None

    def __init__(self, url: NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool]) -> None:
        """Connects. Raises SourceError."""
        label, port = redact(url.url), url.port or _RTSP_PORTS[url.scheme]
        tls = _tls(config) if url.scheme == "rtsps" else None
        camera = addresses.connect_to(url.host, port, config.address_rules, config.open_timeout_s, label=label, tls=tls)
        self._relay = RtspProxy(camera, label, is_stopped)
        self.file = urls.with_local_port(url.url, self._relay.port)
        self.options = _RTSP

    @property
    def failure(self) -> SourceError | None:
        """Why the relay ended the connection, None if it did not."""
        return self._relay.failure

    @property
    def note(self) -> str | None:
        """That packets may be lost."""
        return (
            "it sends over UDP: what is lost on the way is missing in its pictures" if self._relay.is_over_udp else None
        )

    def restart(self, limit_s: float) -> None:
        """libav has limits of its own."""

    def close(self) -> None:
        """Ends the connection."""
        self._relay.close()


class HttpInput:
    """A web server, read by us; what a playlist names is opened by the same rules."""

    note = None

    def __init__(self, url: NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool]) -> None:
        """Opens it. Raises SourceError."""
        self._patience = Deadline(config.open_timeout_s, is_stopped)
        known = urls.credentials(url.url)
        address = urls.strip_credentials(url.url)
        self._reader = HttpClient(
            address,
            config.address_rules,
            _tls(config),
            self._patience,
            credentials=Credentials(*known) if known else None,
        )
        self._label, self._opens = redact(url.url), 0
        self._opened: list[_Guarded] = []
        self.failure: SourceError | None = None
        main = self._reader.open(address)
        self.file = self._guarded(main)
        self.format = "hls" if main.is_playlist else _FORMATS.get(main.kind)
        self.options = {"format_whitelist": _STREAMS, "protocol_whitelist": "http,https"}
        if main.is_playlist:
            # libav's own connections are not there to be kept.
            self.options |= {"http_persistent": "0", "http_multiple": "0", "http_seekable": "0"}

    def open_more(self, url: str, flags: int, options: Mapping[str, str]) -> ReadableFile:
        """What a playlist names: the next part, or the playlist again. Raises nothing: see `failure`."""
        if isinstance(self.failure, SourceInvalid) or self._patience.is_expired:
            return _Empty()
        self._opens += 1
        if self._opens > MOST_OPENS:
            text = f"{self._label}: its playlist names more than {MOST_OPENS} others before one gives a picture"
            self.failure = SourceInvalid(text, SourceReason.TOO_LARGE)
            return _Empty()
        try:
            end = options.get("end_offset")
            opened = self._reader.open(url, first=int(options.get("offset", 0)), end=int(end) if end else None)
        except SourceError as error:
            self.failure = error
            return _Empty()
        self.failure = None
        return self._guarded(opened)

    def restart(self, limit_s: float) -> None:
        """From now on it has `limit_s` to give something."""
        self._patience.restart(limit_s)
        self._opens = 0

    def close(self) -> None:
        """Closes every connection."""
        for opened in self._opened:
            opened.close()

    def _guarded(self, opened: HttpFile) -> _Guarded:
        self._opened = [one for one in self._opened if not one.is_closed]
        guarded = _Seekable(opened, self._note) if opened.seekable() else _Guarded(opened, self._note)
        self._opened.append(guarded)
        return guarded

    def _note(self, error: SourceError) -> None:
        self.failure = error


class _Guarded:
    """A file whose errors end it and are noted: libav would print what is raised in its midst."""

    def __init__(self, opened: HttpFile, note: Callable[[SourceError], None]) -> None:
        self.name = opened.name
        self.is_closed = False
        self._file, self._note = opened, note

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except SourceError as error:
            self._note(error)
            return b""

    def close(self) -> None:
        self.is_closed = True
        self._file.close()


class _Seekable(_Guarded):
    def seek(self, offset: int, whence: int) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Empty:
    """In place of what could not be opened."""

    def read(self, size: int) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing is open."""


def _tls(config: IngestConfig) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if config.ca_file is not None:
        try:
            context.load_verify_locations(config.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SourceInvalid(
                f"ingest.ca_file {str(config.ca_file)!r}: {error.strerror}", SourceReason.TLS
            ) from error
    return context


def input_for(url: FileUrl | NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool]) -> LibavInput:
    """The way in. Raises SourceError; blocks for at most about open_timeout_s."""
    if isinstance(url, FileUrl):
        return FileInput(url.path)
    if url.scheme in _RTSP_PORTS:
        return RtspInput(url, config, is_stopped)
    return HttpInput(url, config, is_stopped)
