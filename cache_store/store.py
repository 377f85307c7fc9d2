"""Where checkpoints are kept: the seam, and the store that lives in this process."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pydantic

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

    async def load(self, camera: str, fingerprint: str) -> checkpoint.Checkpoint | None:
        """The newest generation that is whole and of the model of that fingerprint, None if there is none at all.

        Raises CheckpointCorrupt if none of those that there are can be read.
        """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is known of a checkpoint before it is read. It is small, and written last."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    schema_version: int
    camera: str
    epoch: int
    incarnation: str
    fingerprint: str
    started_s: float
    saved_s: float
    chunks: tuple[Chunk, ...]

    def to_text(self) -> str:
        """As it is kept."""
        return _MANIFEST.dump_json(self).decode()

    def require_readable(self, camera: str, fingerprint: str) -> None:
        """Returns if it is of this camera, model and version. Raises CheckpointCorrupt."""
        for what, found, wanted in (
            ("schema version", self.schema_version, checkpoint.SCHEMA_VERSION),
            ("camera", self.camera, camera),
            ("model", self.fingerprint[:12], fingerprint[:12]),
        ):
            if found != wanted:
                raise checkpoint.CheckpointCorrupt(f"manifest of {what} {found!r} (expected {wanted!r})")


_MANIFEST = pydantic.TypeAdapter(Manifest)


def manifest_of(camera: str, saved: checkpoint.Checkpoint, owner: leases.Owner, chunks: Iterable[Chunk]) -> Manifest:
    """The manifest of a checkpoint that was cut into these chunks."""
    return Manifest(
        schema_version=checkpoint.SCHEMA_VERSION,
        camera=camera,
        epoch=owner.epoch,
        incarnation=owner.incarnation,
        fingerprint=saved.facts.fingerprint,
        started_s=saved.facts.started_s,
        saved_s=saved.facts.saved_s,
        chunks=tuple(chunks),
    )


def read_manifest(text: str | bytes) -> Manifest:
    """The manifest in this text. Raises CheckpointCorrupt."""
    try:
        return _MANIFEST.validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise checkpoint.CheckpointCorrupt(f"manifest of {len(text)} bytes: {first['loc']}: {first['msg']}") from None


def chunks_to_drop(text: str | bytes) -> tuple[Chunk, ...]:
    """The chunks that a manifest names, none if it is broken: then nothing knows them any more."""
    try:
        return read_manifest(text).chunks
    except checkpoint.CheckpointCorrupt:
        return ()


def joined(chunks: Sequence[Chunk], pieces: Sequence[bytes | None]) -> bytes:
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
        generations = [manifest_of(camera, saved, owner, pieces).to_text(), *self._manifests.get(camera, [])]
        self._manifests[camera] = generations[:GENERATIONS]
        for old in generations[GENERATIONS:]:
            self._drop(old)

    async def load(self, camera: str, fingerprint: str) -> checkpoint.Checkpoint | None:
        error = None
        for text in self._manifests.get(camera, []):
            try:
                found = read_manifest(text)
                found.require_readable(camera, fingerprint)
                chunks = found.chunks
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
