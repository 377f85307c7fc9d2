"""The pictures an answer can show: each lives as long as a cached token of its frame."""

from __future__ import annotations

from collections.abc import Container, Iterable


class Thumbnails:
    """JPEGs of one camera by frame."""

    def __init__(self) -> None:
        self._pictures: dict[int, bytes] = {}
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, frame: int, jpeg: bytes) -> None:
        """Keeps the picture of a frame that was just cached."""
        self._pictures[frame] = jpeg
        self.nbytes += len(jpeg)

    def get(self, frame: int) -> bytes:
        """The picture of a frame, empty if it is not kept."""
        return self._pictures.get(frame, b"")

    def keep_only(self, frames: Container[int]) -> None:
        """Drops the pictures of all other frames."""
        for frame in [frame for frame in self._pictures if frame not in frames]:
            self.nbytes -= len(self._pictures.pop(frame))

    def of(self, frames: Iterable[int]) -> dict[int, bytes]:
        """The pictures of these frames, as far as they are kept."""
        return {frame: self._pictures[frame] for frame in frames if frame in self._pictures}
