"""Which pictures of a camera its store has already: a picture never changes, so each is written once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cache_store.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class StoredThumbnail:
    """One picture of a checkpoint: of which frame, how long, and its SHA-256, by which it is found."""

    frame: int
    nbytes: int
    sha256: str

    def key(self, prefix: str) -> str:
        """Where it lies in a store."""
        return f"{prefix}:picture:{self.sha256}"

    def is_of(self, jpeg: bytes | None) -> bool:
        """Whether these are its bytes."""
        return jpeg is not None and len(jpeg) == self.nbytes and hashlib.sha256(jpeg).hexdigest() == self.sha256


@dataclass(frozen=True, slots=True)
class StoredThumbnails:
    """The pictures of one checkpoint that is in the store, each with its bytes."""

    by_frame: Mapping[int, tuple[StoredThumbnail, bytes]]

    def after(self, saved: Checkpoint) -> StoredThumbnails:
        """Those of the next checkpoint; what is the same object as before is not read again."""
        return StoredThumbnails({frame: self._described(frame, jpeg) for frame, jpeg in saved.thumbnails.items()})

    def missing_in(self, before: StoredThumbnails) -> list[tuple[StoredThumbnail, bytes]]:
        """Those that an earlier checkpoint did not have."""
        return [pair for frame, pair in self.by_frame.items() if before.by_frame.get(frame) is not pair]

    @property
    def pictures(self) -> tuple[StoredThumbnail, ...]:
        return tuple(picture for picture, _ in self.by_frame.values())

    def _described(self, frame: int, jpeg: bytes) -> tuple[StoredThumbnail, bytes]:
        known = self.by_frame.get(frame)
        if known is not None and known[1] is jpeg:
            return known
        return StoredThumbnail(frame, len(jpeg), hashlib.sha256(jpeg).hexdigest()), jpeg


NO_THUMBNAILS = StoredThumbnails({})
