"""Checkpoints in Redis or Valkey: immutable chunks, and a manifest that is written last, by its owner alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from cache_store import checkpoint, leases, redis_connection, store

_TIMEOUT_S = 5.0
_RETRIES = 2

# What a save that never came to its end left behind goes by itself; far longer than any save takes.
_UNCOMMITTED_KEPT_MS = 600_000

# Deletes the chunks that the outdated manifests alone name. Here and not by the client: when its word of a commit is
# lost, nobody would know of them any more. A manifest that is broken names none.
_DROP = """
local function chunks(manifest)
    local is_whole, told = pcall(cjson.decode, manifest)
    return is_whole and type(told) == 'table' and type(told.chunks) == 'table' and told.chunks or {}
end
local function drop(outdated, prefix)
    for _, manifest in ipairs(outdated) do
        for _, chunk in ipairs(chunks(manifest)) do
            if type(chunk) == 'table' and type(chunk.key) == 'string' and chunk.key:sub(1, #prefix) == prefix then
                redis.call('UNLINK', chunk.key)
            end
        end
    end
end
"""

# '' when committed, the owner when it is another, the chunk's key when one is gone. The client may send it again when
# no answer came: a generation that is there already is not added twice, or dropping the one would break the other.
_COMMIT = (
    _DROP
    + """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[2] then
    return {'owner', redis.call('HGET', KEYS[1], 'incarnation') or ''}
end
if redis.call('LINDEX', KEYS[2], 0) == ARGV[3] then
    return {'committed', ''}
end
for place = 3, #KEYS do
    if redis.call('PERSIST', KEYS[place]) == 0 then
        return {'lost', KEYS[place]}
    end
end
redis.call('LPUSH', KEYS[2], ARGV[3])
local outdated = redis.call('LRANGE', KEYS[2], ARGV[4], -1)
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
drop(outdated, ARGV[5])
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
drop(outdated, ARGV[1])
"""
)


class RedisCheckpointStore:
    """A CheckpointStore on any server that speaks Redis 6.2, by a URL of store_urls.SCHEMES.

    Keys: `hermes:{CAMERA}:manifests`, a list, newest first, `hermes:{CAMERA}:GENERATION:N` for the chunks, and
    `hermes:{CAMERA}:owner`, without whose consent no manifest is added. timeout_s: for one try to read or write
    one chunk; there are three.
    """

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._connection = redis_connection.Connection(url, timeout_s=timeout_s, retries=_RETRIES)
        self._client = self._connection.client
        self._commit = self._client.register_script(_COMMIT)
        self._drop_uncommitted = self._client.register_script(_DROP_UNCOMMITTED)
        self._delete = self._client.register_script(_DELETE)

    async def ping(self) -> None:
        async with self._connection.translated():
            await self._client.ping()

    async def save(self, camera: str, saved: checkpoint.Checkpoint, owner: leases.Owner) -> None:
        chunks: list[store.Chunk] = []
        try:
            cutting = store.cut(_prefix(camera), saved)
            while (cut := await asyncio.to_thread(next, cutting, None)) is not None:
                chunk, piece = cut
                chunks.append(chunk)
                async with self._connection.translated():
                    await self._client.set(chunk.key, piece, px=_UNCOMMITTED_KEPT_MS)
            await self._make_visible(camera, store.manifest_of(camera, saved, owner, chunks).to_text(), chunks, owner)
        except (checkpoint.StoreFull, leases.OwnedByAnother):
            await self._discard(chunks)
            raise

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
        async with self._connection.translated():
            await self._delete(keys=[_manifests(camera)], args=[_prefix(camera)])

    async def close(self) -> None:
        await self._connection.close()

    async def _make_visible(self, camera: str, manifest: str, chunks: list[store.Chunk], owner: leases.Owner) -> None:
        keys = [owner_key(camera), _manifests(camera), *(chunk.key for chunk in chunks)]
        values: list[str | int] = [owner.epoch, owner.incarnation, manifest, store.GENERATIONS, _prefix(camera)]
        async with self._connection.translated():
            outcome, told = map(redis_connection.as_text, await self._commit(keys=keys, args=values))
        if outcome == "owner":
            raise leases.owned_by(camera, told)
        if outcome == "lost":
            raise checkpoint.StoreUnavailable(f"store {self._connection.where}: chunk {told} was gone at its commit")

    async def _discard(self, chunks: Iterable[store.Chunk]) -> None:
        """Deletes what no manifest names at once, if the store lets us; by itself it would go later."""
        with contextlib.suppress(checkpoint.StoreUnavailable):
            async with self._connection.translated():
                await self._drop_uncommitted(keys=[chunk.key for chunk in chunks])

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
        return await asyncio.to_thread(checkpoint.from_bytes, joining.data)


def owner_key(camera: str) -> str:
    """Where it is noted who owns a camera."""
    return f"{_prefix(camera)}:owner"


def _prefix(camera: str) -> str:
    return f"hermes:{{{camera}}}"


def _manifests(camera: str) -> str:
    return f"{_prefix(camera)}:manifests"
