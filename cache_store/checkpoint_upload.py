"""A checkpoint on its way to its store: what is not there yet, in batches, and the manifest that names all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cache_store import manifest
from cache_store.checkpoint import Checkpoint
from cache_store.leases import Owner
from cache_store.manifest import Chunk, Manifest
from cache_store.thumbnail_dedup import NO_THUMBNAILS, StoredThumbnails


@dataclass(frozen=True, slots=True)
class UploadedCheckpoint:
    """What a store has of a camera: its newest manifest, the chunks and thumbnails of that, and its content key."""

    manifest: str = ""
    content: tuple[object, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    thumbnails: StoredThumbnails = NO_THUMBNAILS


NOTHING_UPLOADED = UploadedCheckpoint()


@dataclass(frozen=True, slots=True)
class Commit:
    """What makes an upload visible when all of its batches are written. uploaded: what the store has then.

    replaced: the manifest that the new one replaces; empty where the new one is a further generation. Two generations
    that name the same chunks would be one.
    """

    uploaded: UploadedCheckpoint
    replaced: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Values to write under their keys. commit: in the last batch of an upload, and only there."""

    values: list[tuple[str, bytes]]
    commit: Commit | None = None


@dataclass(frozen=True, slots=True)
class CheckpointUpload:
    """One save of a camera's checkpoint.

    Where no token came or went since the checkpoint before, its chunks are named again, not written again.
    """

    prefix: str
    camera: str
    checkpoint: Checkpoint
    owner: Owner
    before: UploadedCheckpoint = NOTHING_UPLOADED

    def batches(self, nbytes: int) -> Iterator[Batch]:
        """Batches of at most `nbytes` of values, made as they are taken: work for a thread.

        A longer value is a batch of its own. No more than one batch and one value are in memory at a time. The commit
        exists only when all values were taken.
        """
        chunks: list[Chunk] = []
        values: list[tuple[str, bytes]] = []
        free = nbytes
        thumbnails = self.before.thumbnails.after(self.checkpoint)
        for key, value in self._missing(chunks, thumbnails):
            if values and len(value) > free:
                yield Batch(values)
                values, free = [], nbytes
            values.append((key, value))
            free -= len(value)
        yield Batch(values, self._commit(tuple(chunks), thumbnails))

    @property
    def _has_new_content(self) -> bool:
        return self.checkpoint.content != self.before.content

    def _missing(self, chunks: list[Chunk], thumbnails: StoredThumbnails) -> Iterator[tuple[str, bytes]]:
        """Keys and values that the store does not have. Adds the new chunks to `chunks`."""
        if self._has_new_content:
            for chunk, piece in manifest.cut(self.prefix, self.checkpoint):
                chunks.append(chunk)
                yield chunk.key, piece
        for thumbnail, jpeg in thumbnails.missing_in(self.before.thumbnails):
            yield thumbnail.key(self.prefix), jpeg

    def _commit(self, chunks: tuple[Chunk, ...], thumbnails: StoredThumbnails) -> Commit:
        if not self._has_new_content:
            chunks = self.before.chunks
        text = Manifest.of(self.camera, self.checkpoint, self.owner, chunks, thumbnails.thumbnails).to_text()
        uploaded = UploadedCheckpoint(text, self.checkpoint.content, chunks, thumbnails)
        return Commit(uploaded, "" if self._has_new_content else self.before.manifest)
