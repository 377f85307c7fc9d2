"""HTTP for libav: videos, HLS playlists, MJPEG and single pictures, all of it read by our client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.cameras import SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import urls
from pipeline.network.deadline import Deadline
from pipeline.network.http_client import HttpClient
from pipeline.network.http_file import HttpFile
from pipeline.network.http_wire import join
from pipeline.network.url_redaction import redact
from pipeline.network.urls import NetworkUrl
from pipeline.sources import camera_logins, guarded_files, hls_variants, picture_file
from pipeline.sources.guarded_files import EmptyFile, GuardedFile, ReadableFile, TextFile
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.libav_inputs import FILE_FORMATS, LibavArguments
from pipeline.sources.picture_file import PictureFile

_HTTP_OPTIONS = {"protocol_whitelist": "http,https", "format_whitelist": f"{FILE_FORMATS},hls,ac3,eac3,webvtt"}
# HttpClient makes all connections, so libav has none to keep open. Recorders give segments any name.
_PLAYLIST_OPTIONS = _HTTP_OPTIONS | {
    "http_persistent": "0",
    "http_multiple": "0",
    "http_seekable": "0",
    "allowed_extensions": "ALL",
    "allowed_segment_extensions": "ALL",
    "extension_picky": "0",
}
MAX_NESTED_OPENS = 64  # a playlist of thousands must not cause thousands of connections


class HttpInput:
    """An http(s) server. Every URL that a playlist refers to is opened here, by the same rules."""

    note = None
    has_pictures = False  # of its formats libav wants one picture

    def __init__(
        self, url: NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool], *, min_width: int = 0
    ) -> None:
        """Starts the deadline. min_width: as wide as images are needed. Raises SourceInvalid."""
        self._period_s, self._width = 1 / config.sample_fps, max(min_width, config.thumbnail_width)
        self._label, self._url = redact(url.url), urls.strip_credentials(url.url)
        self._deadline = Deadline(config.open_timeout_s, is_stopped)
        self._client = HttpClient(
            self._url,
            config.address_rules,
            camera_logins.all_tls(url, config),
            self._deadline,
            login=camera_logins.login(url),
        )
        self._nested_opens = 0
        self._files: list[GuardedFile] = []
        self.failure: SourceError | None = None

    def open(self) -> LibavArguments:
        """Requests the URL. Raises SourceError."""
        file = self._client.open(self._url)
        if file.is_playlist:
            return self._playlist(file)
        if picture_file.has_pictures(file):
            return LibavArguments(file=self._guard(self._pictures(file)), options=_HTTP_OPTIONS, format="mpjpeg")
        return LibavArguments(
            file=self._guard(file),
            options=_HTTP_OPTIONS,
            open_nested=self._open_nested,
            can_end=file.nbytes is not None,
        )

    def _pictures(self, file: HttpFile) -> PictureFile:
        def open_again(headers: Mapping[str, str]) -> HttpFile:
            return self._client.open(self._url, headers=headers)

        return PictureFile(file, open_again, self._deadline, self._period_s)

    def _playlist(self, file: HttpFile) -> LibavArguments:
        """The playlist, or the one variant of it that suffices: libav would read all of them. Raises SourceError."""
        text = self._read_whole(file)
        if variants := hls_variants.parse(text.decode(errors="replace")):
            variant = hls_variants.choose(variants, self._width)
            file = self._client.open(join(file.name, variant.url))
            text = self._read_whole(file)
        if hls_variants.waits_for_segments(text.decode(errors="replace")):
            raise SourceUnreachable(f"{self._label}: its playlist names no segment yet", SourceReason.NO_PICTURES)
        return LibavArguments(
            file=TextFile(file.name, text),
            options=_PLAYLIST_OPTIONS,
            format="hls",
            open_nested=self._open_nested,
            silence_s=hls_variants.silence_s(text.decode(errors="replace")),
        )

    def _read_whole(self, file: HttpFile) -> bytes:
        """The text of a playlist, which is bounded. Raises SourceError."""
        try:
            return b"".join(iter(file.read, b""))
        finally:
            file.close()

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

    def _guard(self, file: HttpFile | PictureFile) -> GuardedFile:
        self._files = [earlier for earlier in self._files if not earlier.is_closed]
        self._files.append(guarded_files.guard(file, self._set_failure))
        return self._files[-1]

    def _set_failure(self, error: SourceError) -> None:
        self.failure = error
