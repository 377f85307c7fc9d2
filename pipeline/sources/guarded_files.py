"""Files that libav reads through us. An error ends the file and is recorded, because libav would print an exception."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Protocol

from pipeline.cameras import SourceError
from pipeline.network.http_file import HttpFile
from pipeline.sources.picture_file import PictureFile


class ReadableFile(Protocol):
    """A file as libav reads it."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; b"" at the end. Raises nothing."""

    def close(self) -> None:
        """Closes the file."""


class GuardedFile:
    """Reads a file of HTTP. A SourceError is passed to `on_error` and reads as the end of the file."""

    def __init__(self, file: HttpFile | PictureFile, on_error: Callable[[SourceError], None]) -> None:
        self.name = file.name
        self.is_closed = False
        self._file, self._on_error = file, on_error

    def read(self, size: int) -> bytes:
        """At most `size` bytes; b"" at the end and after an error. Blocks until the client's deadline."""
        try:
            return self._file.read(size)
        except SourceError as error:
            self._on_error(error)
            return b""

    def close(self) -> None:
        """Closes the file's connection."""
        self.is_closed = True
        self._file.close()


class SeekableGuardedFile(GuardedFile):
    """A GuardedFile whose server supports byte ranges: libav detects `seek` and `tell`."""

    def __init__(self, file: HttpFile, on_error: Callable[[SourceError], None]) -> None:
        super().__init__(file, on_error)
        self._seekable = file

    def seek(self, offset: int, whence: int) -> int:
        """Sets the offset of the next read; returns it."""
        return self._seekable.seek(offset, whence)

    def tell(self) -> int:
        """The offset of the next read."""
        return self._seekable.tell()


class EmptyFile:
    """Stands in for a file that could not be opened."""

    def read(self, size: int) -> bytes:
        """Always b""."""
        return b""

    def close(self) -> None:
        """Nothing is open."""


class TextFile:
    """A file whose text was read before, under the name of its URL."""

    def __init__(self, name: str, text: bytes) -> None:
        self.name = name
        self._text = io.BytesIO(text)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; b"" at the end."""
        return self._text.read(size)

    def close(self) -> None:
        """Nothing is open."""


def guard(file: HttpFile | PictureFile, on_error: Callable[[SourceError], None]) -> GuardedFile:
    """The file, guarded; seekable if it is."""
    if isinstance(file, HttpFile) and file.seekable():
        return SeekableGuardedFile(file, on_error)
    return GuardedFile(file, on_error)
