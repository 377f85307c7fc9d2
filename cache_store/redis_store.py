"""Checkpoints in Redis or Valkey: immutable chunks, and a manifest that is written last, by its owner alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from cache_store import checkpoint, leases, store

_TIMEOUT_S = 5.0
_RETRIES = 2
_LEAST_VERSION = (6, 2)
_NOT_KEPT = "no append-only file, so a restart loses what is newer than its last snapshot"

_TRY_RIGHTS = """
redis.call('HSET', KEYS[1], 'field', 1)
redis.call('PEXPIRE', KEYS[1], 1000)
redis.call('TIME')
return redis.call('DEL', KEYS[1])
"""

# {1, the manifests that are outdated now} when committed, {0, owner} when not. The client may send it again when no
# answer came: a generation that is there already is not added twice, or dropping the one would break the other.
_COMMIT = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[2] then
    return {0, redis.call('HGET', KEYS[1], 'incarnation') or ''}
end
if redis.call('LINDEX', KEYS[2], 0) == ARGV[3] then
    return {1, {}}
end
redis.call('LPUSH', KEYS[2], ARGV[3])
local outdated = redis.call('LRANGE', KEYS[2], ARGV[4], -1)
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
return {1, outdated}
"""


class Connection:
    """A client of one server, and its errors as ours."""

    def __init__(self, url: str, *, timeout_s: float, retries: int) -> None:
        self.where = _shown(url)
        self.client: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries),
        )

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Turns what the client raises in the block into StoreUnavailable."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            raise checkpoint.StoreUnavailable(f"store {self.where}: {type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Lets go of the connection."""
        await self.client.aclose()


class RedisCheckpointStore:
    """A CheckpointStore on any server that speaks Redis 6.2, by a redis://, rediss:// or unix:// URL.

    Keys: `hermes:{CAMERA}:manifests`, a list, newest first, `hermes:{CAMERA}:GENERATION:N` for the chunks, and
    `hermes:{CAMERA}:owner`, without whose consent no manifest is added.
    """

    def __init__(self, url: str) -> None:
        self._connection = Connection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)
        self._client = self._connection.client
        self._commit = self._client.register_script(_COMMIT)

    async def ping(self) -> None:
        async with self._connection.translated():
            await self._client.ping()

    async def save(self, camera: str, saved: checkpoint.Checkpoint, owner: leases.Owner) -> None:
        data = await asyncio.to_thread(checkpoint.to_bytes, saved)
        pieces = store.cut(_prefix(camera), data)
        manifest = store.manifest_of(camera, saved, owner, pieces).to_text()
        async with self._connection.translated():
            for chunk, piece in pieces.items():
                await self._client.set(chunk.key, piece)
            is_committed, told = await self._commit(
                keys=[owner_key(camera), _manifests(camera)],
                args=[owner.epoch, owner.incarnation, manifest, store.GENERATIONS],
            )
            await self._drop(told if is_committed else [manifest])
        if not is_committed:
            raise leases.owned_by(camera, told.decode())

    async def load(self, camera: str, fingerprint: str) -> checkpoint.Checkpoint | None:
        error = None
        async with self._connection.translated():
            for text in await self._client.lrange(_manifests(camera), 0, -1):
                try:
                    return await self._read(text, camera, fingerprint)
                except checkpoint.CheckpointCorrupt as broken:
                    error = broken
        if error is not None:
            raise error
        return None

    async def delete(self, camera: str) -> None:
        async with self._connection.translated():
            manifests = await self._client.lrange(_manifests(camera), 0, -1)
            await self._client.delete(_manifests(camera))
            await self._drop(manifests)

    async def close(self) -> None:
        await self._connection.close()

    async def _read(self, text: str | bytes, camera: str, fingerprint: str) -> checkpoint.Checkpoint:
        found = store.read_manifest(text)
        found.require_readable(camera, fingerprint)
        chunks = found.chunks
        pieces = [_as_bytes(await self._client.get(chunk.key)) for chunk in chunks]
        return await asyncio.to_thread(checkpoint.from_bytes, store.joined(chunks, pieces))

    async def _drop(self, manifests: list[str | bytes]) -> None:
        keys = [chunk.key for text in manifests for chunk in store.chunks_to_drop(text)]
        if keys:
            await self._client.delete(*keys)


async def require(url: str, *, is_durable: bool = False) -> str:
    """What server it is, if the store at this URL can be used. Raises StoreUnavailable, StoreUnfit.

    is_durable: it must also keep what it has when it restarts. Writes, reads and deletes a key of its own.
    """
    connection = Connection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)
    try:
        async with connection.translated():
            facts = await connection.client.info()
            key = f"hermes:rights:{uuid.uuid4().hex}"
            await connection.client.eval(_TRY_RIGHTS, 1, key)
    finally:
        await connection.close()
    _require_fit(connection.where, facts, is_durable)
    name = "Valkey" if facts.get("server_name") == "valkey" else "Redis"
    version = facts.get("valkey_version") or facts["redis_version"]
    return f"{name} {version}, {facts['maxmemory_policy']}, {_durability(facts)}"


def _require_fit(where: str, facts: dict[str, Any], is_durable: bool) -> None:
    version = tuple(int(part) for part in str(facts["redis_version"]).split(".")[:2])
    if version < _LEAST_VERSION:
        raise checkpoint.StoreUnfit(f"store {where}: version {facts['redis_version']} (at least 6.2)")
    if facts.get("cluster_enabled"):
        raise checkpoint.StoreUnfit(f"store {where}: a Redis Cluster (use one primary, with replicas if you like)")
    if facts.get("role") != "master":
        raise checkpoint.StoreUnfit(f"store {where}: a replica, which takes no writes (use its primary)")
    if facts["maxmemory_policy"] != "noeviction":
        raise checkpoint.StoreUnfit(
            f"store {where}: maxmemory-policy is {facts['maxmemory_policy']}, which deletes checkpoints when memory is "
            "short (use noeviction)"
        )
    if is_durable and _durability(facts) == _NOT_KEPT:
        raise checkpoint.StoreUnfit(f"store {where}: {_NOT_KEPT} (use appendonly yes)")


def _durability(facts: dict[str, Any]) -> str:
    if facts.get("aof_enabled"):
        return "append-only file"
    return _NOT_KEPT


def _shown(url: str) -> str:
    """Host and port alone: a URL may hold a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def as_text(value: bytes | str) -> str:
    """What a client brought back, whichever way it was told to."""
    return value.decode() if isinstance(value, bytes) else value


def _as_bytes(piece: bytes | str | None) -> bytes | None:
    return piece.encode() if isinstance(piece, str) else piece


def owner_key(camera: str) -> str:
    """Where it is noted who owns a camera."""
    return f"{_prefix(camera)}:owner"


def _prefix(camera: str) -> str:
    return f"hermes:{{{camera}}}"


def _manifests(camera: str) -> str:
    return f"{_prefix(camera)}:manifests"
