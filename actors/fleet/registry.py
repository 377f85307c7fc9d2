"""The cameras that shall be watched, kept in the store: those of the configuration and those that clients added."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pydantic
import structlog

from actors.shard.interface import Assignment
from cache_store import redis_connection
from cache_store.redis_connection import RedisConnection
from pipeline.cameras import CameraError, CameraSpec

log = structlog.get_logger(__name__)

_KEY, _VERSION_KEY, _LINEAGE_KEY = "hermes:cameras", "hermes:cameras:version", "hermes:cameras:lineage"
_TIMEOUT_S = 2.0
_RETRIES = 1


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A camera that shall be watched. is_configured: a configuration names it, so a later one can remove it."""

    assignment: Assignment
    is_configured: bool = False


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """All cameras, by name.

    version: changes with every write; lineage: changes when the registry has lost its data. Both are None for a
    registry that was never written.
    """

    lineage: str | None
    version: str | None
    entries: dict[str, RegistryEntry]


class CameraRegistry(Protocol):
    """The desired cameras, shared by all fleets. Every method raises StoreUnavailable.

    URLs are stored as given, credentials included: anyone with access to the store can read them.
    """

    async def add(self, *entries: RegistryEntry) -> None:
        """Adds each camera, unless the registry has one of this name."""
        ...

    async def remove(self, name: str) -> None:
        """Removes the camera; nothing happens if there is none of this name."""
        ...

    async def snapshot_since(self, version: str | None) -> RegistrySnapshot | None:
        """All cameras, or None if nothing changed since this version. Unreadable entries are logged and left out."""
        ...


class InMemoryRegistry:
    """A CameraRegistry that ends with its process."""

    def __init__(self) -> None:
        self._entries: dict[str, RegistryEntry] = {}
        self._lineage: str | None = None
        self._version: str | None = None

    async def add(self, *entries: RegistryEntry) -> None:
        for entry in entries:
            self._entries.setdefault(entry.assignment.spec.name, entry)
        self._change()

    async def remove(self, name: str) -> None:
        self._entries.pop(name, None)
        self._change()

    async def snapshot_since(self, version: str | None) -> RegistrySnapshot | None:
        if version is not None and version == self._version:
            return None
        return RegistrySnapshot(self._lineage, self._version, dict(sorted(self._entries.items())))

    def forget_everything(self) -> None:
        """Loses all data, like a store that comes back empty."""
        self._entries.clear()
        self._lineage = self._version = None

    def _change(self) -> None:
        self._version = uuid.uuid4().hex
        self._lineage = self._lineage or self._version


class RedisRegistry:
    """A CameraRegistry in the Redis hash `hermes:cameras`, with version and lineage in keys of their own."""

    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)

    async def add(self, *entries: RegistryEntry) -> None:
        async with self._change() as pipeline:
            for entry in entries:
                pipeline.hsetnx(_KEY, entry.assignment.spec.name, _to_json(entry))

    async def remove(self, name: str) -> None:
        async with self._change() as pipeline:
            pipeline.hdel(_KEY, name)

    async def snapshot_since(self, version: str | None) -> RegistrySnapshot | None:
        async with self._connection.operation():
            present = await self._connection.client.get(_VERSION_KEY)
            if present is not None and redis_connection.as_text(present) == version:
                return None
            async with self._connection.client.pipeline() as pipeline:
                pipeline.mget(_LINEAGE_KEY, _VERSION_KEY)
                pipeline.hgetall(_KEY)
                (lineage, present), fields = await pipeline.execute()
        texts = {redis_connection.as_text(name): text for name, text in fields.items()}
        entries = {name: entry for name in sorted(texts) if (entry := _from_json(name, texts[name])) is not None}
        return RegistrySnapshot(_optional_text(lineage), _optional_text(present), entries)

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[Any]:
        """A transaction: the commands that the block adds to it and a new version are written together."""
        async with self._connection.operation(), self._connection.client.pipeline() as pipeline:
            yield pipeline
            version = uuid.uuid4().hex
            pipeline.set(_LINEAGE_KEY, version, nx=True)
            pipeline.set(_VERSION_KEY, version)
            await pipeline.execute()


def _optional_text(value: str | bytes | None) -> str | None:
    return None if value is None else redis_connection.as_text(value)


def _to_json(entry: RegistryEntry) -> str:
    spec, started_s = entry.assignment.spec, entry.assignment.started_s
    fields = {
        "spec": _SPEC.dump_python(spec, mode="json"),
        "started_s": started_s,
        "is_configured": entry.is_configured,
    }
    return json.dumps(fields)


def _from_json(name: str, text: str | bytes) -> RegistryEntry | None:
    try:
        fields = json.loads(text)
        spec = _SPEC.validate_python(fields["spec"])
        return RegistryEntry(Assignment(spec=spec, started_s=float(fields["started_s"])), bool(fields["is_configured"]))
    except (ValueError, KeyError, TypeError, AttributeError, CameraError) as error:
        log.error("registry_entry_unreadable", camera=name, reason=type(error).__name__)
        return None


_SPEC = pydantic.TypeAdapter(CameraSpec)
