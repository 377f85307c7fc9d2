"""What a store keeps of a checkpoint: immutable chunks, and the manifest that names them and is written last."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic

from cache_store import checkpoint_codec
from cache_store.checkpoint import READABLE_VERSIONS, SCHEMA_VERSION, Checkpoint, CheckpointFacts
from cache_store.errors import CheckpointCorrupt
from cache_store.leases import Owner
from cache_store.thumbnail_dedup import StoredThumbnail

CHUNK_NBYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """One immutable piece of a checkpoint: its key, its length and its CRC-32.

    The checksum is against accidents, not against forgery: SHA-256 takes as long as the reading itself.
    """

    key: str
    nbytes: int
    crc32: int

    def verify(self, piece: bytes | None) -> bytes:
        """The bytes that were read of this chunk. Raises CheckpointCorrupt if they are missing or changed."""
        if piece is None or len(piece) != self.nbytes or zlib.crc32(piece) != self.crc32:
            state = "missing" if piece is None else "changed"
            raise CheckpointCorrupt(f"chunk {self.key} of {self.nbytes} bytes is {state}")
        return piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is known of a checkpoint before its chunks are read. It is small, and written last."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    schema_version: int
    camera: str
    epoch: int
    incarnation: str
    facts: CheckpointFacts
    chunks: tuple[Chunk, ...]
    thumbnails: Annotated[tuple[StoredThumbnail, ...], pydantic.Field(alias="pictures")]

    @staticmethod
    def of(
        camera: str,
        checkpoint: Checkpoint,
        owner: Owner,
        chunks: Iterable[Chunk],
        thumbnails: tuple[StoredThumbnail, ...] = (),
    ) -> Manifest:
        """The manifest of a checkpoint that was cut into these chunks."""
        return Manifest(
            schema_version=SCHEMA_VERSION,
            camera=camera,
            epoch=owner.epoch,
            incarnation=owner.incarnation,
            facts=checkpoint.facts,
            chunks=tuple(chunks),
            thumbnails=thumbnails,
        )

    @staticmethod
    def from_text(text: str | bytes) -> Manifest:
        """The manifest in this JSON text. Raises CheckpointCorrupt."""
        try:
            return _MANIFEST.validate_json(text)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise CheckpointCorrupt(f"manifest of {len(text)} bytes: {first['loc']}: {first['msg']}") from None

    def to_text(self) -> str:
        """The manifest as JSON text."""
        return _MANIFEST.dump_json(self, by_alias=True).decode()

    def require_readable(self, camera: str, fingerprints: Collection[str]) -> None:
        """Returns if it can be read: of this camera, one of these models, a version. Raises CheckpointCorrupt."""
        for what, found, readable in (
            ("schema version", self.schema_version, READABLE_VERSIONS),
            ("camera", self.camera, [camera]),
            ("model", self.facts.fingerprint[:12], sorted({fingerprint[:12] for fingerprint in fingerprints})),
        ):
            if found not in readable:
                expected = " or ".join(map(repr, readable))
                raise CheckpointCorrupt(f"manifest of {what} {found!r} (expected {expected})")


_MANIFEST = pydantic.TypeAdapter(Manifest)


def cut(prefix: str, checkpoint: Checkpoint) -> Iterator[tuple[Chunk, bytes]]:
    """The checkpoint's bytes in pieces of at most CHUNK_NBYTES under keys never used before."""
    generation = uuid.uuid4().hex
    for index, piece in enumerate(pieces_of(checkpoint_codec.encode(checkpoint), CHUNK_NBYTES)):
        yield Chunk(f"{prefix}:{generation}:{index}", len(piece), zlib.crc32(piece)), piece


def pieces_of(parts: Iterable[memoryview], nbytes: int) -> Iterator[bytes]:
    """The same bytes in pieces of at most `nbytes`. No more than one piece is in memory at a time.

    A part that fits in a piece is not cut, so a reader need not put it together again.
    """
    waiting: list[memoryview] = []
    free = nbytes
    for part in parts:
        if waiting and len(part) > free:
            yield b"".join(waiting)
            waiting, free = [], nbytes
        while len(part) > free:
            yield bytes(part[:free])
            part = part[free:]
        if len(part):
            waiting.append(part)
            free -= len(part)
    if waiting:
        yield b"".join(waiting)
