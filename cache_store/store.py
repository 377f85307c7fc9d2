"""Where checkpoints are kept: the seam, and the store that lives in this process."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pydantic

from cache_store import checkpoint, leases
from cache_store.checkpoint import SCHEMA_VERSION, Checkpoint, CheckpointCorrupt, CheckpointFacts
from cache_store.leases import UNOWNED, Leases, Owner
from cache_store.thumbnail_dedup import StoredThumbnail

GENERATIONS = 2
CHUNK_NBYTES = 2 << 20


class CheckpointStore(Protocol):
    """Keeps the two newest checkpoints of each camera. Every method raises StoreUnavailable."""

    async def ping(self) -> None:
        """Returns if the store can be reached."""
        ...

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        """Adds a generation and drops the oldest; readers see the old ones until it is whole.

        Raises OwnedByAnother unless this is the camera's owner at the moment at which it becomes visible.
        """
        ...

    async def load(self, camera: str, fingerprint: str) -> Checkpoint | None:
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
    """One immutable piece of a checkpoint: where it is, how long, and its CRC-32.

    Against what wears and tears, not against who forges; SHA-256 takes as long as the reading itself.
    """

    key: str
    nbytes: int
    crc32: int


def cut(prefix: str, saved: Checkpoint) -> Iterator[tuple[Chunk, bytes]]:
    """The checkpoint's bytes in pieces of at most CHUNK_NBYTES under keys never used before."""
    generation = uuid.uuid4().hex
    for index, piece in enumerate(pieces_of(checkpoint.to_parts(saved), CHUNK_NBYTES)):
        yield Chunk(f"{prefix}:{generation}:{index}", len(piece), zlib.crc32(piece)), piece


def pieces_of(parts: Iterable[memoryview], nbytes: int) -> Iterator[bytes]:
    """The same bytes in pieces of at most `nbytes`. No more than one is held at a time.

    A part that fits in a piece is not cut, so that whoever reads it need not put it together again.
    """
    waiting: list[memoryview] = []
    room = nbytes
    for part in parts:
        if waiting and len(part) > room:
            yield b"".join(waiting)
            waiting, room = [], nbytes
        while len(part) > room:
            yield bytes(part[:room])
            part = part[room:]
        if len(part):
            waiting.append(part)
            room -= len(part)
    if waiting:
        yield b"".join(waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is known of a checkpoint before it is read. It is small, and written last."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    schema_version: int
    camera: str
    epoch: int
    incarnation: str
    facts: CheckpointFacts
    chunks: tuple[Chunk, ...]
    pictures: tuple[StoredThumbnail, ...]

    def to_text(self) -> str:
        """As it is kept."""
        return _MANIFEST.dump_json(self).decode()

    def require_readable(self, camera: str, fingerprint: str) -> None:
        """Returns if it is of this camera, model and version. Raises CheckpointCorrupt."""
        for what, found, wanted in (
            ("schema version", self.schema_version, SCHEMA_VERSION),
            ("camera", self.camera, camera),
            ("model", self.facts.fingerprint[:12], fingerprint[:12]),
        ):
            if found != wanted:
                raise CheckpointCorrupt(f"manifest of {what} {found!r} (expected {wanted!r})")


_MANIFEST = pydantic.TypeAdapter(Manifest)


def manifest_of(
    camera: str,
    saved: Checkpoint,
    owner: Owner,
    chunks: Iterable[Chunk],
    pictures: tuple[StoredThumbnail, ...] = (),
) -> Manifest:
    """The manifest of a checkpoint that was cut into these chunks."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        camera=camera,
        epoch=owner.epoch,
        incarnation=owner.incarnation,
        facts=saved.facts,
        chunks=tuple(chunks),
        pictures=pictures,
    )


def read_manifest(text: str | bytes) -> Manifest:
    """The manifest in this text. Raises CheckpointCorrupt."""
    try:
        return _MANIFEST.validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise CheckpointCorrupt(f"manifest of {len(text)} bytes: {first['loc']}: {first['msg']}") from None


def require_whole(chunk: Chunk, piece: bytes | None) -> bytes:
    """The bytes of a chunk. Raises CheckpointCorrupt if they are missing or changed."""
    if piece is None or len(piece) != chunk.nbytes or zlib.crc32(piece) != chunk.crc32:
        state = "missing" if piece is None else "changed"
        raise CheckpointCorrupt(f"chunk {chunk.key} of {chunk.nbytes} bytes is {state}")
    return piece


class InMemoryCheckpointStore:
    """A CheckpointStore that ends with its process."""

    def __init__(self, owners: Leases) -> None:
        self._owners = owners
        self._pieces: dict[str, bytes] = {}
        self._thumbnails: dict[str, dict[int, bytes]] = {}
        self._manifests: dict[str, list[str]] = {}

    async def ping(self) -> None:
        """Always there."""

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        held = await self._owners.owner(camera)
        if held != owner:
            raise leases.owned_by(camera, held.incarnation if held else UNOWNED)
        pieces = dict(cut(camera, saved))
        self._pieces |= {chunk.key: piece for chunk, piece in pieces.items()}
        self._thumbnails |= {chunk.key: saved.thumbnails for chunk in pieces}
        generations = [manifest_of(camera, saved, owner, pieces).to_text(), *self._manifests.get(camera, [])]
        self._manifests[camera] = generations[:GENERATIONS]
        for old in generations[GENERATIONS:]:
            self._drop(old)

    async def load(self, camera: str, fingerprint: str) -> Checkpoint | None:
        error = None
        for text in self._manifests.get(camera, []):
            try:
                found = read_manifest(text)
                found.require_readable(camera, fingerprint)
                pieces = [require_whole(chunk, self._pieces.get(chunk.key)) for chunk in found.chunks]
                return checkpoint.from_pieces(pieces, found.facts, self._thumbnails[found.chunks[0].key])
            except CheckpointCorrupt as broken:
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
        for chunk in read_manifest(text).chunks:
            self._pieces.pop(chunk.key, None)
            self._thumbnails.pop(chunk.key, None)
