"""The thumbnails that an answer can show as evidence: each lives as long as a cached token of its frame."""

from __future__ import annotations

from collections.abc import Container


class Thumbnails:
    """JPEGs of one camera by frame number."""

    def __init__(self) -> None:
        self._jpegs: dict[int, bytes] = {}
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._jpegs)

    def add(self, frame: int, jpeg: bytes) -> None:
        """Adds the thumbnail of a frame that was just cached."""
        self._jpegs[frame] = jpeg
        self.nbytes += len(jpeg)

    def get(self, frame: int) -> bytes:
        """The thumbnail of a frame, empty if it was evicted."""
        return self._jpegs.get(frame, b"")

    def keep(self, frames: Container[int]) -> None:
        """Evicts the thumbnails of all other frames."""
        for frame in [frame for frame in self._jpegs if frame not in frames]:
            self.nbytes -= len(self._jpegs.pop(frame))

    def by_frame(self) -> dict[int, bytes]:
        """All thumbnails by frame number, as a copy."""
        return dict(self._jpegs)
