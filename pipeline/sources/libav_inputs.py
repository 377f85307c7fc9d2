"""What libav reads, and with which arguments: the seam between streams and their connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.cameras import SourceError
from pipeline.sources.guarded_files import ReadableFile

# Only these formats are video. Above all no format that lists other files (concat, playlists) is among them.
FILE_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,ivf,h264,hevc,obu,av1,mpjpeg,mjpeg,m4v,nut,mxf,dv,rm,gif,apng,"
    "yuv4mpegpipe,wav,mp3,aac,dhav"
)
_FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FILE_FORMATS}

OpenNested = Callable[[str, int, Mapping[str, str]], ReadableFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class LibavArguments:
    """The arguments with which libav opens a stream.

    file: a name that libav opens itself, or a file object that it reads.
    options: libav's options.
    format: the name of the format, None if libav detects it.
    open_nested: opens what the stream refers to; None where libav does so itself, within its options.
    can_end: whether the stream may be a recording: its server says where it ends.
    silence_s: seconds without data that are normal for the stream.
    """

    file: str | ReadableFile
    options: Mapping[str, str]
    format: str | None = None
    open_nested: OpenNested | None = None
    can_end: bool = True
    silence_s: float = 0.0


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
    def has_pictures(self) -> bool:
        """Whether pictures arrive, although libav may not have seen enough of them yet."""

    @property
    def note(self) -> str | None:
        """A fact about the input that the operator should know, None without one."""


class FileInput:
    """A local file of any name."""

    failure = note = None
    has_pictures = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> LibavArguments:
        """libav opens the file itself."""
        return LibavArguments(file=f"file:{self._path}", options=_FILE_OPTIONS)

    def restart(self, limit_s: float) -> None:
        """Reading a file has no deadline."""

    def close(self) -> None:
        """libav closes what it opens."""
