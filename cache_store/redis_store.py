"""Checkpoints in Redis or Valkey: immutable chunks, and a manifest written last, by the camera's owner alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Any

from cache_store import checkpoint_codec, leases, redis_connection, redis_keys
from cache_store.checkpoint import Checkpoint
from cache_store.checkpoint_upload import NOTHING_UPLOADED, CheckpointUpload, Commit, UploadedCheckpoint
from cache_store.errors import CameraFenced, CheckpointCorrupt, ChunksLost, OwnedByAnother, StoreFull, StoreUnavailable
from cache_store.leases import Owner
from cache_store.manifest import CHUNK_NBYTES, Manifest
from cache_store.redis_connection import RedisConnection
from cache_store.redis_scripts import COMMIT, DELETE, DROP_UNCOMMITTED
from cache_store.store import GENERATIONS
from cache_store.thumbnail_dedup import StoredThumbnail, StoredThumbnails

_TIMEOUT_S = 5.0
_RETRIES = 2
_THUMBNAILS_PER_READ = 64

# What an interrupted save leaves behind expires after this time, which is far longer than any save takes.
_UNCOMMITTED_TTL_MS = 600_000


class RedisCheckpointStore:
    """A CheckpointStore on a server that speaks Redis 6.2, by a URL of store_urls.SCHEMES.

    Keys: `hermes:{CAMERA}:manifests`, a list, newest first; `hermes:{CAMERA}:GENERATION:N` for the chunks;
    `hermes:{CAMERA}:picture:SHA256` for the thumbnails, which generations share; and `hermes:{CAMERA}:owner`, which
    fences every commit. timeout_s: for one try to read or write as much as one chunk may be; there are three tries.
    """

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, retries=_RETRIES)
        self._client = self._connection.client
        self._drop_uncommitted = self._client.register_script(DROP_UNCOMMITTED)
        self._uploaded: dict[str, UploadedCheckpoint] = {}  # with their thumbnails: some megabytes for each camera
        self._delete = self._client.register_script(DELETE)

    async def save(self, camera: str, checkpoint: Checkpoint, owner: Owner) -> None:
        try:
            await self._save(camera, checkpoint, owner)
        except ChunksLost:
            await self._save(camera, checkpoint, owner)  # the whole of it: this may be its only and last save

    async def _save(self, camera: str, checkpoint: Checkpoint, owner: Owner) -> None:
        before = self._uploaded.get(camera, NOTHING_UPLOADED)
        batches = CheckpointUpload(redis_keys.camera_prefix(camera), camera, checkpoint, owner, before).batches(
            CHUNK_NBYTES
        )
        keys: list[str] = []
        try:
            commit = None
            while commit is None:
                # A thread makes each batch in one go: a small checkpoint costs less than a further switch of threads.
                batch = await asyncio.to_thread(next, batches)
                keys += [key for key, _ in batch.values]
                commit = batch.commit
                if commit is None:
                    await self._write(batch.values)
            # The last batch and the commit are one round trip.
            *_, outcome = await self._write(batch.values, *_commit_arguments(camera, owner, commit, keys))
            self._require_done(camera, *map(redis_connection.as_text, outcome))
        except (StoreFull, OwnedByAnother, CameraFenced):
            await self._discard(keys)
            raise
        self._uploaded[camera] = commit.uploaded

    async def load(self, camera: str, *fingerprints: str) -> Checkpoint | None:
        error = None
        self._uploaded.pop(camera, None)
        async with self._connection.operation():
            manifests = await self._client.lrange(redis_keys.manifests(camera), 0, -1)
        for text in manifests:
            try:
                return await self._read(text, camera, fingerprints)
            except CheckpointCorrupt as corrupt:
                error = corrupt
        if error is not None:
            raise error
        return None

    async def delete(self, camera: str, owner: Owner) -> None:
        self._uploaded.pop(camera, None)
        keys = [redis_keys.owner(camera), redis_keys.manifests(camera)]
        values: list[str | int] = [owner.epoch, owner.incarnation, redis_keys.camera_prefix(camera)]
        async with self._connection.operation():
            outcome: Any = await self._delete(keys=keys, args=values)
        self._require_done(camera, *map(redis_connection.as_text, outcome))

    def end(self, camera: str) -> None:
        self._uploaded.pop(camera, None)

    async def close(self) -> None:
        await self._connection.close()

    async def _write(self, values: Sequence[tuple[str, bytes]], *commit: str | int) -> list[Any]:
        """Writes values and commits, with these keys and arguments, in one round trip. -> the server's answers"""
        async with self._connection.operation(), self._client.pipeline(transaction=False) as pipeline:
            for key, value in values:
                # A key that exists already is committed: it is another generation's thumbnail, or all of this is sent
                # again because no answer came. It must not begin to expire.
                pipeline.set(key, value, px=_UNCOMMITTED_TTL_MS, nx=True)
            if commit:
                pipeline.eval(COMMIT, 2, *commit)
            # The error that the client itself would raise shows what was written.
            answers = await pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _require_done(self, camera: str, outcome: str, detail: str) -> None:
        if outcome in ("owner", "lost"):
            # The next save writes everything again.
            self._uploaded.pop(camera, None)
        if outcome == "owner":
            raise leases.refused(camera, detail)
        if outcome == "lost":
            raise ChunksLost(f"store {self._connection.address}: {detail} was missing at the commit")

    async def _discard(self, keys: list[str]) -> None:
        """Deletes what no manifest names at once, if the store permits; it would expire later."""
        with contextlib.suppress(StoreUnavailable):
            async with self._connection.operation():
                await self._drop_uncommitted(keys=keys)

    async def _read(self, text: str | bytes, camera: str, fingerprints: Collection[str]) -> Checkpoint:
        manifest = Manifest.from_text(text)
        manifest.require_readable(camera, fingerprints)
        pieces = []
        for chunk in manifest.chunks:
            async with self._connection.operation():
                piece: Any = await self._client.get(chunk.key)
            pieces.append(chunk.verify(piece))
        thumbnails = await self._read_thumbnails(redis_keys.camera_prefix(camera), manifest.thumbnails)
        checkpoint = await asyncio.to_thread(checkpoint_codec.decode, pieces, manifest.facts, thumbnails)
        stored = {one.frame: (one, thumbnails[one.frame]) for one in manifest.thumbnails if one.frame in thumbnails}
        self._uploaded[camera] = UploadedCheckpoint(thumbnails=StoredThumbnails(stored))
        return checkpoint

    async def _read_thumbnails(self, prefix: str, thumbnails: tuple[StoredThumbnail, ...]) -> dict[int, bytes]:
        """By frame. A thumbnail that is missing or changed is left out: the memory does not need it."""
        found: dict[int, bytes] = {}
        for start in range(0, len(thumbnails), _THUMBNAILS_PER_READ):
            batch = thumbnails[start : start + _THUMBNAILS_PER_READ]
            async with self._connection.operation():
                jpegs: Any = await self._client.mget([thumbnail.key(prefix) for thumbnail in batch])
            found |= {one.frame: jpeg for one, jpeg in zip(batch, jpegs, strict=True) if one.matches(jpeg)}
        return found


def _commit_arguments(camera: str, owner: Owner, commit: Commit, keys: list[str]) -> list[str | int]:
    """The keys and arguments of COMMIT."""
    generation = commit.uploaded.manifest, GENERATIONS, redis_keys.camera_prefix(camera), commit.replaced
    return [redis_keys.owner(camera), redis_keys.manifests(camera), owner.epoch, owner.incarnation, *generation, *keys]
