"""Checkpoints in Redis or Valkey: immutable chunks, and a manifest that is written last, by its owner alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from cache_store import checkpoint, kept_pictures, leases, redis_connection, redis_scripts, store

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
    one chunk; there are three.
    """

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._connection = redis_connection.Connection(url, timeout_s=timeout_s, retries=_RETRIES)
        self._client = self._connection.client
        self._commit = self._client.register_script(redis_scripts.COMMIT)
        self._drop_uncommitted = self._client.register_script(redis_scripts.DROP_UNCOMMITTED)
        self._pictures: dict[str, kept_pictures.KeptPictures] = {}
        self._delete = self._client.register_script(redis_scripts.DELETE)

    async def ping(self) -> None:
        async with self._connection.translated():
            await self._client.ping()

    async def save(self, camera: str, saved: checkpoint.Checkpoint, owner: leases.Owner) -> None:
        before = self._pictures.get(camera, kept_pictures.NO_PICTURES)
        cutting = store.cut(_prefix(camera), saved)
        # In one go: a small checkpoint costs less than the way to another thread and back.
        pictures, first = await asyncio.to_thread(lambda: (before.after(saved), next(cutting)))
        keys: list[str] = []
        try:
            chunks = await self._write(first, cutting, keys)
            await self._write_pictures(_prefix(camera), pictures.missing_in(before), keys)
            manifest = store.manifest_of(camera, saved, owner, chunks, pictures.pictures)
            await self._make_visible(camera, manifest.to_text(), owner)
        except (checkpoint.StoreFull, leases.OwnedByAnother):
            await self._discard(keys)
            raise
        self._pictures[camera] = pictures

    async def load(self, camera: str, fingerprint: str) -> checkpoint.Checkpoint | None:
        error = None
        async with self._connection.translated():
            manifests = await self._client.lrange(_manifests(camera), 0, -1)
        for text in manifests:
            try:
                return await self._read(text, camera, fingerprint)
            except checkpoint.CheckpointCorrupt as broken:
                error = broken
        if error is not None:
            raise error
        return None

    async def delete(self, camera: str) -> None:
        self._pictures.pop(camera, None)
        async with self._connection.translated():
            await self._delete(keys=[_manifests(camera)], args=[_prefix(camera)])

    async def close(self) -> None:
        await self._connection.close()

    async def _write(
        self, first: tuple[store.Chunk, bytes], others: Iterator[tuple[store.Chunk, bytes]], keys: list[str]
    ) -> list[store.Chunk]:
        """Writes the chunks of a checkpoint; notes their keys."""
        chunks, cut = [], first
        while True:
            chunk, piece = cut
            keys.append(chunk.key)
            async with self._connection.translated():
                await self._client.set(chunk.key, piece, px=_UNCOMMITTED_KEPT_MS)
            chunks.append(chunk)
            if (following := await asyncio.to_thread(next, others, None)) is None:
                return chunks
            cut = following

    async def _write_pictures(
        self, prefix: str, missing: list[tuple[kept_pictures.Picture, bytes]], keys: list[str]
    ) -> None:
        for start in range(0, len(missing), _PICTURES_AT_A_TIME):
            async with self._connection.translated(), self._client.pipeline(transaction=False) as together:
                for picture, jpeg in missing[start : start + _PICTURES_AT_A_TIME]:
                    keys.append(_picture(prefix, picture))
                    # One that is there already is another generation's too, and must not begin to expire.
                    together.set(keys[-1], jpeg, px=_UNCOMMITTED_KEPT_MS, nx=True)
                await together.execute()

    async def _make_visible(self, camera: str, manifest: str, owner: leases.Owner) -> None:
        values: list[str | int] = [owner.epoch, owner.incarnation, manifest, store.GENERATIONS, _prefix(camera)]
        async with self._connection.translated():
            found = await self._commit(keys=[owner_key(camera), _manifests(camera)], args=values)
        outcome, told = map(redis_connection.as_text, found)
        if outcome == "owner":
            self._pictures.pop(camera, None)
            raise leases.owned_by(camera, told)
        if outcome == "lost":
            # The next save writes every picture again.
            self._pictures.pop(camera, None)
            raise checkpoint.StoreUnavailable(f"store {self._connection.where}: {told} was gone at its commit")

    async def _discard(self, keys: list[str]) -> None:
        """Deletes what no manifest names at once, if the store lets us; by itself it would go later."""
        with contextlib.suppress(checkpoint.StoreUnavailable):
            async with self._connection.translated():
                await self._drop_uncommitted(keys=keys)

    async def _read(self, text: str | bytes, camera: str, fingerprint: str) -> checkpoint.Checkpoint:
        found = store.read_manifest(text)
        found.require_readable(camera, fingerprint)
        pieces = []
        for chunk in found.chunks:
            async with self._connection.translated():
                piece: Any = await self._client.get(chunk.key)
            pieces.append(store.require_whole(chunk, piece))
        pictures = await self._read_pictures(_prefix(camera), found.pictures)
        loaded = await asyncio.to_thread(checkpoint.from_pieces, pieces, found.facts, pictures)
        self._pictures[camera] = kept_pictures.KeptPictures(
            {
                picture.frame: (picture, pictures[picture.frame])
                for picture in found.pictures
                if picture.frame in pictures
            }
        )
        return loaded

    async def _read_pictures(self, prefix: str, pictures: tuple[kept_pictures.Picture, ...]) -> dict[int, bytes]:
        """By frame. One that is missing or changed is left out: the memory does not need it."""
        found: dict[int, bytes] = {}
        for start in range(0, len(pictures), _PICTURES_AT_A_TIME):
            wanted = pictures[start : start + _PICTURES_AT_A_TIME]
            async with self._connection.translated():
                jpegs: Any = await self._client.mget([_picture(prefix, picture) for picture in wanted])
            found |= {picture.frame: jpeg for picture, jpeg in zip(wanted, jpegs, strict=True) if picture.is_of(jpeg)}
        return found


def owner_key(camera: str) -> str:
    """Where it is noted who owns a camera."""
    return f"{_prefix(camera)}:owner"


def _prefix(camera: str) -> str:
    return f"hermes:{{{camera}}}"


def _picture(prefix: str, picture: kept_pictures.Picture) -> str:
    return f"{prefix}:picture:{picture.sha256}"


def _manifests(camera: str) -> str:
    return f"{_prefix(camera)}:manifests"
