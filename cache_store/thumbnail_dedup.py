"""Which thumbnails of a camera its store has already: a thumbnail never changes, so each is written once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cache_store.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class StoredThumbnail:
    """One thumbnail of a checkpoint: its frame, its length, and its SHA-256, which is its key."""

    frame: int
    nbytes: int
    sha256: str

    def key(self, prefix: str) -> str:
        """The key in a store."""
        return f"{prefix}:picture:{self.sha256}"

    def matches(self, jpeg: bytes | None) -> bool:
        """Whether these are its bytes."""
        return jpeg is not None and len(jpeg) == self.nbytes and hashlib.sha256(jpeg).hexdigest() == self.sha256


@dataclass(frozen=True, slots=True)
class StoredThumbnails:
    """The thumbnails of one checkpoint that is in the store, each with its bytes."""

    by_frame: Mapping[int, tuple[StoredThumbnail, bytes]]

    def after(self, checkpoint: Checkpoint) -> StoredThumbnails:
        """The thumbnails of the next checkpoint. Those that are the same object as before are not hashed again."""
        return StoredThumbnails({frame: self._described(frame, jpeg) for frame, jpeg in checkpoint.thumbnails.items()})

    def missing_in(self, before: StoredThumbnails) -> list[tuple[StoredThumbnail, bytes]]:
        """Those that an earlier checkpoint did not have."""
        return [pair for frame, pair in self.by_frame.items() if before.by_frame.get(frame) is not pair]

    @property
    def thumbnails(self) -> tuple[StoredThumbnail, ...]:
        return tuple(thumbnail for thumbnail, _ in self.by_frame.values())

    def _described(self, frame: int, jpeg: bytes) -> tuple[StoredThumbnail, bytes]:
        before = self.by_frame.get(frame)
        if before is not None and before[1] is jpeg:
            return before
        return StoredThumbnail(frame, len(jpeg), hashlib.sha256(jpeg).hexdigest()), jpeg


NO_THUMBNAILS = StoredThumbnails({})
