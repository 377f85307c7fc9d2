"""Checkpoints in Redis or Valkey: immutable chunks, and a manifest that is written last, by its owner alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from cache_store import checkpoint, kept_pictures, leases, redis_connection, store

_TIMEOUT_S = 5.0
_RETRIES = 2
_PICTURES_AT_A_TIME = 64

# What a save that never came to its end left behind goes by itself; far longer than any save takes.
_UNCOMMITTED_KEPT_MS = 600_000

# What a manifest names: its chunks, and its pictures, which it shares with others. A broken one names nothing.
_KEYS = """
local function keys_of(manifest, prefix)
    local found, is_read, told = {}, pcall(cjson.decode, manifest)
    local chunks = is_read and type(told) == 'table' and type(told.chunks) == 'table' and told.chunks or {}
    local pictures = is_read and type(told) == 'table' and type(told.pictures) == 'table' and told.pictures or {}
    for _, chunk in ipairs(chunks) do
        if type(chunk) == 'table' and type(chunk.key) == 'string' and chunk.key:sub(1, #prefix) == prefix then
            found[#found + 1] = chunk.key
        end
    end
    for _, picture in ipairs(pictures) do
        if type(picture) == 'table' and type(picture.sha256) == 'string' then
            found[#found + 1] = prefix .. ':picture:' .. picture.sha256
        end
    end
    return found
end
"""

# Deletes what the outdated manifests alone name. Here and not by the client: when its word of a commit is lost,
# nobody would know of them any more.
_DROP = (
    _KEYS
    + """
local function drop(outdated, kept, prefix)
    local needed = {}
    for _, manifest in ipairs(kept) do
        for _, key in ipairs(keys_of(manifest, prefix)) do
            needed[key] = true
        end
    end
    for _, manifest in ipairs(outdated) do
        for _, key in ipairs(keys_of(manifest, prefix)) do
            if not needed[key] then
                redis.call('UNLINK', key)
            end
        end
    end
end
"""
)

# What came of it, and whose the camera is or which key is gone. The client may send it again when no answer came: a
# generation that is there already is not added twice, or dropping the one would break the other.
_COMMIT = (
    _DROP
    + """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[2] then
    return {'owner', redis.call('HGET', KEYS[1], 'incarnation') or ''}
end
if redis.call('LINDEX', KEYS[2], 0) == ARGV[3] then
    return {'committed', ''}
end
local named = keys_of(ARGV[3], ARGV[5])
for _, key in ipairs(named) do
    if redis.call('EXISTS', key) == 0 then
        return {'lost', key}
    end
end
for _, key in ipairs(named) do
    redis.call('PERSIST', key)
end
redis.call('LPUSH', KEYS[2], ARGV[3])
local outdated = redis.call('LRANGE', KEYS[2], ARGV[4], -1)
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
drop(outdated, redis.call('LRANGE', KEYS[2], 0, -1), ARGV[5])
return {'committed', ''}
"""
)

_DROP_UNCOMMITTED = """
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) > 0 then
        redis.call('UNLINK', key)
    end
end
"""

_DELETE = (
    _DROP
    + """
local outdated = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
drop(outdated, {}, ARGV[1])
"""
)


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
        self._commit = self._client.register_script(_COMMIT)
        self._drop_uncommitted = self._client.register_script(_DROP_UNCOMMITTED)
        self._pictures: dict[str, kept_pictures.KeptPictures] = {}
        self._delete = self._client.register_script(_DELETE)

    async def ping(self) -> None:
        async with self._connection.translated():
            await self._client.ping()

    async def save(self, camera: str, saved: checkpoint.Checkpoint, owner: leases.Owner) -> None:
        before = self._pictures.get(camera, kept_pictures.NO_PICTURES)
        pictures = await asyncio.to_thread(before.after, saved)
        keys: list[str] = []
        try:
            chunks = [chunk async for chunk in self._written(_prefix(camera), saved, keys)]
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

    async def _written(self, prefix: str, saved: checkpoint.Checkpoint, keys: list[str]) -> AsyncIterator[store.Chunk]:
        """The chunks of the checkpoint, each when it is written; notes their keys."""
        cutting = store.cut(prefix, saved)
        while (cut := await asyncio.to_thread(next, cutting, None)) is not None:
            chunk, piece = cut
            keys.append(chunk.key)
            async with self._connection.translated():
                await self._client.set(chunk.key, piece, px=_UNCOMMITTED_KEPT_MS)
            yield chunk

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
        joining = store.Joining(found.chunks)
        try:
            async with asyncio.TaskGroup() as checking:
                for index, chunk in enumerate(found.chunks):
                    async with self._connection.translated():
                        piece: Any = await self._client.get(chunk.key)
                    checking.create_task(asyncio.to_thread(joining.put, index, piece))
        except* checkpoint.StoreError as errors:
            raise errors.exceptions[0] from None
        pictures = await self._read_pictures(_prefix(camera), found.pictures)
        loaded = await asyncio.to_thread(checkpoint.from_bytes, joining.data, pictures)
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
