"""A checkpoint on its way to its store: what is not there yet, in batches, and the manifest that names all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cache_store import store
from cache_store.checkpoint import Checkpoint
from cache_store.leases import Owner
from cache_store.store import Chunk
from cache_store.thumbnail_dedup import NO_THUMBNAILS, StoredThumbnails


@dataclass(frozen=True, slots=True)
class UploadedCheckpoint:
    """What a store has of a camera: its newest manifest, what that names, and the content of its checkpoint."""

    manifest: str = ""
    content: tuple[object, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    pictures: StoredThumbnails = NO_THUMBNAILS


NOTHING_UPLOADED = UploadedCheckpoint()


class CheckpointUpload:
    """One save: first its batches, to their end, then what is kept when they are written.

    Where no token came or went since the checkpoint before, its chunks are named again, not written again.
    """

    def __init__(self, prefix: str, saved: Checkpoint, before: UploadedCheckpoint) -> None:
        self._prefix, self._saved, self._before = prefix, saved, before
        self._pictures = before.pictures
        self._has_new_content = saved.content != before.content
        self._chunks = [] if self._has_new_content else list(before.chunks)

    @property
    def replaced(self) -> str:
        """The manifest in whose place the new one stands; none if it stands beside the others.

        Two generations that name the same chunks would be one.
        """
        return "" if self._has_new_content else self._before.manifest

    def batches(self, nbytes: int) -> Iterator[tuple[list[tuple[str, bytes]], bool]]:
        """Keys and bytes in lists of at most `nbytes`, and whether more follow. Makes them as it goes: a thread's work.

        One longer value makes a list of its own. No more than one list and one value are held at a time.
        """
        batch: list[tuple[str, bytes]] = []
        room = nbytes
        for key, value in self._missing():
            if batch and len(value) > room:
                yield batch, True
                batch, room = [], nbytes
            batch.append((key, value))
            room -= len(value)
        yield batch, False

    def kept(self, camera: str, owner: Owner) -> UploadedCheckpoint:
        """What the store has when all batches and this manifest are written."""
        manifest = store.manifest_of(camera, self._saved, owner, self._chunks, self._pictures.pictures)
        return UploadedCheckpoint(manifest.to_text(), self._saved.content, tuple(self._chunks), self._pictures)

    def _missing(self) -> Iterator[tuple[str, bytes]]:
        if self._has_new_content:
            for chunk, piece in store.cut(self._prefix, self._saved):
                self._chunks.append(chunk)
                yield chunk.key, piece
        self._pictures = self._before.pictures.after(self._saved)
        for picture, jpeg in self._pictures.missing_in(self._before.pictures):
            yield picture.key(self._prefix), jpeg
