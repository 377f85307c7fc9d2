"""Where checkpoints are kept: the seam, and the store that lives in this process."""

from __future__ import annotations

from typing import Protocol

from cache_store import checkpoint_codec, leases, manifest
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt
from cache_store.leases import UNOWNED, Leases, Owner
from cache_store.manifest import Manifest

GENERATIONS = 2


class CheckpointStore(Protocol):
    """Keeps the two newest checkpoints of each camera. Every method raises StoreUnavailable."""

    async def save(self, camera: str, checkpoint: Checkpoint, owner: Owner) -> None:
        """Adds a generation and drops the oldest; readers see the earlier ones until the new one is complete.

        The store fences stale owners: raises OwnedByAnother unless `owner` is the camera's owner at the commit.
        """
        ...

    async def load(self, camera: str, *fingerprints: str) -> Checkpoint | None:
        """The newest generation that is complete and of one of these models, None if there is none at all.

        Raises CheckpointCorrupt if there are generations and none can be read.
        """
        ...

    async def delete(self, camera: str, owner: Owner) -> None:
        """Deletes the camera's checkpoints, in the name of its owner or of the fence that ended all ownership.

        Raises OwnedByAnother, or CameraFenced, unless `owner` is the camera's owner at that moment.
        """
        ...

    def end(self, camera: str) -> None:
        """Drops what this process keeps of the camera to save less the next time; its checkpoints stay."""
        ...

    async def close(self) -> None:
        """Closes the connection."""
        ...


class InMemoryCheckpointStore:
    """A CheckpointStore that ends with its process."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._pieces: dict[str, bytes] = {}
        self._thumbnails: dict[str, dict[int, bytes]] = {}
        self._manifests: dict[str, list[str]] = {}

    async def save(self, camera: str, checkpoint: Checkpoint, owner: Owner) -> None:
        await self._require_owner(camera, owner)
        pieces = dict(manifest.cut(camera, checkpoint))
        self._pieces |= {chunk.key: piece for chunk, piece in pieces.items()}
        self._thumbnails |= {chunk.key: checkpoint.thumbnails for chunk in pieces}
        generations = [Manifest.of(camera, checkpoint, owner, pieces).to_text(), *self._manifests.get(camera, [])]
        self._manifests[camera] = generations[:GENERATIONS]
        for outdated in generations[GENERATIONS:]:
            self._drop(outdated)

    async def load(self, camera: str, *fingerprints: str) -> Checkpoint | None:
        error = None
        for text in self._manifests.get(camera, []):
            try:
                found = Manifest.from_text(text)
                found.require_readable(camera, fingerprints)
                pieces = [chunk.verify(self._pieces.get(chunk.key)) for chunk in found.chunks]
                return checkpoint_codec.decode(pieces, found.facts, self._thumbnails[found.chunks[0].key])
            except CheckpointCorrupt as corrupt:
                error = corrupt
        if error is not None:
            raise error
        return None

    async def delete(self, camera: str, owner: Owner) -> None:
        await self._require_owner(camera, owner)
        for text in self._manifests.pop(camera, []):
            self._drop(text)

    def end(self, camera: str) -> None:
        """Nothing is kept beside the checkpoints."""

    def has_checkpoints(self, camera: str) -> bool:
        """Whether there is any generation of this camera."""
        return bool(self._manifests.get(camera))

    async def close(self) -> None:
        """There is no connection."""

    async def _require_owner(self, camera: str, owner: Owner) -> None:
        current = await self._leases.owner(camera)
        if current != owner:
            raise leases.refused(camera, current.incarnation if current else UNOWNED)

    def _drop(self, text: str) -> None:
        for chunk in Manifest.from_text(text).chunks:
            self._pieces.pop(chunk.key, None)
            self._thumbnails.pop(chunk.key, None)
