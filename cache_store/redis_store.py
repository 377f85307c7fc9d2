"""Checkpoints in Redis or Valkey: immutable chunks, and a manifest that is written last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from cache_store import checkpoint, store

_TIMEOUT_S = 5.0
_RETRIES = 2


class RedisCheckpointStore:
    """A CheckpointStore on any server that speaks Redis 6.2, by a redis://, rediss:// or unix:// URL.

    Keys: `hermes:{CAMERA}:manifests`, a list, newest first, and `hermes:{CAMERA}:GENERATION:N` for the chunks;
    the braces keep a camera on one node of a cluster.
    """

    def __init__(self, url: str) -> None:
        self._where = _shown(url)
        self._client: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), _RETRIES),
        )

    async def ping(self) -> None:
        async with self._translated():
            await self._client.ping()

    async def save(self, camera: str, saved: checkpoint.Checkpoint) -> None:
        data = await asyncio.to_thread(checkpoint.to_bytes, saved)
        pieces = store.cut(_prefix(camera), data)
        async with self._translated():
            for chunk, piece in pieces.items():
                await self._client.set(chunk.key, piece)
            async with self._client.pipeline(transaction=True) as commit:
                commit.lpush(_manifests(camera), store.manifest(list(pieces)))
                commit.lrange(_manifests(camera), store.GENERATIONS, -1)
                commit.ltrim(_manifests(camera), 0, store.GENERATIONS - 1)
                _, outdated, _ = await commit.execute()
            await self._drop(outdated)

    async def load(self, camera: str) -> checkpoint.Checkpoint | None:
        error = None
        async with self._translated():
            for text in await self._client.lrange(_manifests(camera), 0, -1):
                try:
                    return await self._read(text)
                except checkpoint.CheckpointCorrupt as broken:
                    error = broken
        if error is not None:
            raise error
        return None

    async def delete(self, camera: str) -> None:
        async with self._translated():
            manifests = await self._client.lrange(_manifests(camera), 0, -1)
            await self._client.delete(_manifests(camera))
            await self._drop(manifests)

    async def close(self) -> None:
        await self._client.aclose()

    async def _read(self, text: str | bytes) -> checkpoint.Checkpoint:
        chunks = store.chunks_of(text)
        pieces = [_as_bytes(await self._client.get(chunk.key)) for chunk in chunks]
        return await asyncio.to_thread(checkpoint.from_bytes, store.joined(chunks, pieces))

    async def _drop(self, manifests: list[str | bytes]) -> None:
        keys = [chunk.key for text in manifests for chunk in store.chunks_to_drop(text)]
        if keys:
            await self._client.delete(*keys)

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            raise checkpoint.StoreUnavailable(f"store {self._where}: {type(error).__name__}: {error}") from error


async def require(url: str) -> None:
    """Returns if the store at this URL answers. Raises StoreUnavailable."""
    asked = RedisCheckpointStore(url)
    try:
        await asked.ping()
    finally:
        await asked.close()


def _shown(url: str) -> str:
    """Host and port alone: a URL may hold a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _as_bytes(piece: bytes | str | None) -> bytes | None:
    return piece.encode() if isinstance(piece, str) else piece


def _prefix(camera: str) -> str:
    return f"hermes:{{{camera}}}"


def _manifests(camera: str) -> str:
    return f"{_prefix(camera)}:manifests"
