"""Where checkpoints are kept: the seam, and the store that lives in this process."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Protocol

from cache_store import checkpoint, leases

GENERATIONS = 2
CHUNK_NBYTES = 2 << 20


class CheckpointStore(Protocol):
    """Keeps the two newest checkpoints of each camera. Every method raises StoreUnavailable."""

    async def ping(self) -> None:
        """Returns if the store can be reached."""
        ...

    async def save(self, camera: str, saved: checkpoint.Checkpoint, owner: leases.Owner) -> None:
        """Adds a generation and drops the oldest; readers see the old ones until it is whole.

        Raises OwnedByAnother unless this is the camera's owner at the moment at which it becomes visible.
        """
        ...

    async def load(self, camera: str) -> checkpoint.Checkpoint | None:
        """The newest generation that is whole, None if there is none. Raises CheckpointCorrupt if all are broken."""
        ...

    async def delete(self, camera: str) -> None:
        """Forgets the camera's checkpoints."""
        ...

    async def close(self) -> None:
        """Lets go of the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """One immutable piece of a checkpoint: where it is, how long, and its SHA-256."""

    key: str
    nbytes: int
    sha256: str


def cut(prefix: str, data: bytes) -> dict[Chunk, bytes]:
    """The data in pieces of at most CHUNK_NBYTES under keys never used before."""
    generation = uuid.uuid4().hex
    pieces = (data[start : start + CHUNK_NBYTES] for start in range(0, len(data), CHUNK_NBYTES))
    return {
        Chunk(f"{prefix}:{generation}:{index}", len(piece), hashlib.sha256(piece).hexdigest()): piece
        for index, piece in enumerate(pieces)
    }


def manifest(chunks: list[Chunk]) -> str:
    """The small text that names all chunks of one checkpoint; it is written last."""
    return json.dumps({"chunks": [[chunk.key, chunk.nbytes, chunk.sha256] for chunk in chunks]})


def chunks_of(text: str | bytes) -> list[Chunk]:
    """The chunks that a manifest names. Raises CheckpointCorrupt."""
    try:
        return [Chunk(str(key), int(nbytes), str(sha)) for key, nbytes, sha in json.loads(text)["chunks"]]
    except (ValueError, KeyError, TypeError) as error:
        raise checkpoint.CheckpointCorrupt(f"manifest of {len(text)} bytes: {error}") from error


def chunks_to_drop(text: str | bytes) -> list[Chunk]:
    """The chunks that a manifest names, none if it is broken: then nothing knows them any more."""
    try:
        return chunks_of(text)
    except checkpoint.CheckpointCorrupt:
        return []


def joined(chunks: list[Chunk], pieces: list[bytes | None]) -> bytes:
    """The data of all chunks. Raises CheckpointCorrupt if one is missing or changed."""
    for chunk, piece in zip(chunks, pieces, strict=True):
        if piece is None or hashlib.sha256(piece).hexdigest() != chunk.sha256:
            state = "missing" if piece is None else "changed"
            raise checkpoint.CheckpointCorrupt(f"chunk {chunk.key} of {chunk.nbytes} bytes is {state}")
    return b"".join(piece for piece in pieces if piece is not None)


class InMemoryCheckpointStore:
    """A CheckpointStore that ends with its process."""

    def __init__(self, owners: leases.Leases) -> None:
        self._owners = owners
        self._pieces: dict[str, bytes] = {}
        self._manifests: dict[str, list[str]] = {}

    async def ping(self) -> None:
        """Always there."""

    async def save(self, camera: str, saved: checkpoint.Checkpoint, owner: leases.Owner) -> None:
        held = await self._owners.owner(camera)
        if held != owner:
            raise leases.owned_by(camera, held.incarnation if held else leases.NOBODY)
        pieces = cut(camera, checkpoint.to_bytes(saved))
        self._pieces |= {chunk.key: piece for chunk, piece in pieces.items()}
        generations = [manifest(list(pieces)), *self._manifests.get(camera, [])]
        self._manifests[camera] = generations[:GENERATIONS]
        for old in generations[GENERATIONS:]:
            self._drop(old)

    async def load(self, camera: str) -> checkpoint.Checkpoint | None:
        error = None
        for text in self._manifests.get(camera, []):
            try:
                chunks = chunks_of(text)
                return checkpoint.from_bytes(joined(chunks, [self._pieces.get(chunk.key) for chunk in chunks]))
            except checkpoint.CheckpointCorrupt as broken:
                error = broken
        if error is not None:
            raise error
        return None

    async def delete(self, camera: str) -> None:
        for text in self._manifests.pop(camera, []):
            self._drop(text)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _drop(self, text: str) -> None:
        for chunk in chunks_to_drop(text):
            self._pieces.pop(chunk.key, None)
