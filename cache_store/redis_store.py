"""Checkpoints in Redis or Valkey: immutable chunks, and a manifest that is written last, by its owner alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from cache_store import checkpoint, leases, redis_connection, store
from cache_store.checkpoint import Checkpoint, CheckpointCorrupt, StoreFull, StoreUnavailable
from cache_store.checkpoint_upload import NOTHING_UPLOADED, CheckpointUpload, UploadedCheckpoint
from cache_store.leases import OwnedByAnother, Owner
from cache_store.redis_connection import RedisConnection
from cache_store.redis_scripts import COMMIT, DELETE, DROP_UNCOMMITTED
from cache_store.store import CHUNK_NBYTES, GENERATIONS
from cache_store.thumbnail_dedup import StoredThumbnail, StoredThumbnails

_TIMEOUT_S = 5.0
_RETRIES = 2
_PICTURES_AT_A_TIME = 64

# What a save that never came to its end left behind goes by itself; far longer than any save takes.
_UNCOMMITTED_KEPT_MS = 600_000


class RedisCheckpointStore:
    """A CheckpointStore on any server that speaks Redis 6.2, by a URL of store_urls.SCHEMES.

    Keys: `hermes:{CAMERA}:manifests`, a list, newest first, `hermes:{CAMERA}:GENERATION:N` for the chunks,
    `hermes:{CAMERA}:picture:SHA256` for the pictures, which generations share, and `hermes:{CAMERA}:owner`, without
    whose consent no manifest is added. timeout_s: for one try to read or write
    as much as one chunk may be; there are three.
    """

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, retries=_RETRIES)
        self._client = self._connection.client
        self._drop_uncommitted = self._client.register_script(DROP_UNCOMMITTED)
        self._kept: dict[str, UploadedCheckpoint] = {}
        self._delete = self._client.register_script(DELETE)

    async def ping(self) -> None:
        async with self._connection.translated():
            await self._client.ping()

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        prefix = _prefix(camera)
        saving = CheckpointUpload(prefix, saved, self._kept.get(camera, NOTHING_UPLOADED))
        batches, keys = saving.batches(CHUNK_NBYTES), []
        try:
            more_follow = True
            while more_follow:
                # In one go: a small checkpoint costs less than the way to another thread and back.
                batch, more_follow = await asyncio.to_thread(next, batches)
                keys += [key for key, _ in batch]
                if more_follow:
                    await self._write(batch)
            kept = saving.kept(camera, owner)
            generation = kept.manifest, GENERATIONS, prefix, saving.replaced
            names = owner_key(camera), _manifests(camera)
            *_, found = await self._write(batch, *names, owner.epoch, owner.incarnation, *generation, *keys)
            self._require_visible(camera, *map(redis_connection.as_text, found))
        except (StoreFull, OwnedByAnother):
            await self._discard(keys)
            raise
        self._kept[camera] = kept

    async def load(self, camera: str, fingerprint: str) -> Checkpoint | None:
        error = None
        self._kept.pop(camera, None)
        async with self._connection.translated():
            manifests = await self._client.lrange(_manifests(camera), 0, -1)
        for text in manifests:
            try:
                return await self._read(text, camera, fingerprint)
            except CheckpointCorrupt as broken:
                error = broken
        if error is not None:
            raise error
        return None

    async def delete(self, camera: str) -> None:
        self._kept.pop(camera, None)
        async with self._connection.translated():
            await self._delete(keys=[_manifests(camera)], args=[_prefix(camera)])

    async def close(self) -> None:
        await self._connection.close()

    async def _write(self, batch: Sequence[tuple[str, bytes]], *commit: str | int) -> list[Any]:
        """Writes a batch, and commits, with these keys and arguments, on the same way. What was answered."""
        async with self._connection.translated(), self._client.pipeline(transaction=False) as together:
            for key, value in batch:
                # What is there already is committed: another generation's picture, or all of it when no answer came and
                # it is sent once more. It must not begin to expire.
                together.set(key, value, px=_UNCOMMITTED_KEPT_MS, nx=True)
            if commit:
                together.eval(COMMIT, 2, *commit)
            # The client's own way of raising shows what was written.
            answers = await together.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _require_visible(self, camera: str, outcome: str, told: str) -> None:
        if outcome != "committed":
            # The next save writes everything again.
            self._kept.pop(camera, None)
        if outcome == "owner":
            raise leases.owned_by(camera, told)
        if outcome == "lost":
            raise StoreUnavailable(f"store {self._connection.where}: {told} was gone at its commit")

    async def _discard(self, keys: list[str]) -> None:
        """Deletes what no manifest names at once, if the store lets us; by itself it would go later."""
        with contextlib.suppress(StoreUnavailable):
            async with self._connection.translated():
                await self._drop_uncommitted(keys=keys)

    async def _read(self, text: str | bytes, camera: str, fingerprint: str) -> Checkpoint:
        found = store.read_manifest(text)
        found.require_readable(camera, fingerprint)
        pieces = []
        for chunk in found.chunks:
            async with self._connection.translated():
                piece: Any = await self._client.get(chunk.key)
            pieces.append(store.require_whole(chunk, piece))
        pictures = await self._read_pictures(_prefix(camera), found.pictures)
        loaded = await asyncio.to_thread(checkpoint.from_pieces, pieces, found.facts, pictures)
        there = {one.frame: (one, pictures[one.frame]) for one in found.pictures if one.frame in pictures}
        self._kept[camera] = UploadedCheckpoint(pictures=StoredThumbnails(there))
        return loaded

    async def _read_pictures(self, prefix: str, pictures: tuple[StoredThumbnail, ...]) -> dict[int, bytes]:
        """By frame. One that is missing or changed is left out: the memory does not need it."""
        found: dict[int, bytes] = {}
        for start in range(0, len(pictures), _PICTURES_AT_A_TIME):
            wanted = pictures[start : start + _PICTURES_AT_A_TIME]
            async with self._connection.translated():
                jpegs: Any = await self._client.mget([picture.key(prefix) for picture in wanted])
            found |= {picture.frame: jpeg for picture, jpeg in zip(wanted, jpegs, strict=True) if picture.is_of(jpeg)}
        return found


def owner_key(camera: str) -> str:
    """Where it is noted who owns a camera."""
    return f"{_prefix(camera)}:owner"


def _prefix(camera: str) -> str:
    return f"hermes:{{{camera}}}"


def _manifests(camera: str) -> str:
    return f"{_prefix(camera)}:manifests"
