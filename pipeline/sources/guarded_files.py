"""Files that libav reads through us. An error ends the file and is recorded, because libav would print an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline.cameras import SourceError
from pipeline.network.http_client import HttpFile


class ReadableFile(Protocol):
    """A file as libav reads it."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; b"" at the end. Raises nothing."""

    def close(self) -> None:
        """Closes the file."""


class GuardedFile:
    """Reads an HttpFile. A SourceError is passed to `on_error` and reads as the end of the file."""

    def __init__(self, file: HttpFile, on_error: Callable[[SourceError], None]) -> None:
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

    def seek(self, offset: int, whence: int) -> int:
        """Sets the offset of the next read; returns it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The offset of the next read."""
        return self._file.tell()


class EmptyFile:
    """Stands in for a file that could not be opened."""

    def read(self, size: int) -> bytes:
        """Always b""."""
        return b""

    def close(self) -> None:
        """Nothing is open."""


def guard(file: HttpFile, on_error: Callable[[SourceError], None]) -> GuardedFile:
    """The file, guarded; seekable if it is."""
    return SeekableGuardedFile(file, on_error) if file.seekable() else GuardedFile(file, on_error)
