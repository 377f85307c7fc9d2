"""Which cameras shall be watched, kept in the store: those of the configuration and those added while systems ran."""

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
    """A camera that shall be watched. is_configured: a configuration names it, so the next one may take it back."""

    assignment: Assignment
    is_configured: bool = False


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """Every camera, by name.

    version: changes whenever a camera does; lineage: changes when the registry has lost its memory. Both are None for
    one that was never told anything.
    """

    lineage: str | None
    version: str | None
    entries: dict[str, RegistryEntry]


class CameraRegistry(Protocol):
    """What every router and supervisor goes by. Every method raises StoreUnavailable.

    URLs are kept as they were given, credentials included: who can read the store can read them.
    """

    async def add(self, *entries: RegistryEntry) -> None:
        """Adds each camera, unless there is one of its name."""
        ...

    async def remove(self, name: str) -> None:
        """Removes the camera; nothing happens if it is not known."""
        ...

    async def snapshot_since(self, version: str | None) -> RegistrySnapshot | None:
        """Every camera, None where nothing changed since this version. Entries that cannot be read are left out."""
        ...


class InMemoryRegistry:
    """A CameraRegistry that ends with its process."""

    def __init__(self) -> None:
        self._known: dict[str, RegistryEntry] = {}
        self._lineage: str | None = None
        self._version: str | None = None

    async def add(self, *entries: RegistryEntry) -> None:
        for entry in entries:
            self._known.setdefault(entry.assignment.spec.name, entry)
        self._change()

    async def remove(self, name: str) -> None:
        self._known.pop(name, None)
        self._change()

    async def snapshot_since(self, version: str | None) -> RegistrySnapshot | None:
        if version is not None and version == self._version:
            return None
        return RegistrySnapshot(self._lineage, self._version, {name: self._known[name] for name in sorted(self._known)})

    def forget_everything(self) -> None:
        """As a store that comes back empty."""
        self._known.clear()
        self._lineage = self._version = None

    def _change(self) -> None:
        self._version = uuid.uuid4().hex
        self._lineage = self._lineage or self._version


class RedisRegistry:
    """A CameraRegistry in the hash `hermes:cameras`; its version and lineage in keys beside it."""

    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)

    async def add(self, *entries: RegistryEntry) -> None:
        async with self._change() as together:
            for entry in entries:
                together.hsetnx(_KEY, entry.assignment.spec.name, _text(entry))

    async def remove(self, name: str) -> None:
        async with self._change() as together:
            together.hdel(_KEY, name)

    async def snapshot_since(self, version: str | None) -> RegistrySnapshot | None:
        async with self._connection.translated():
            now = await self._connection.client.get(_VERSION_KEY)
            if now is not None and redis_connection.as_text(now) == version:
                return None
            async with self._connection.client.pipeline() as together:
                together.mget(_LINEAGE_KEY, _VERSION_KEY)
                together.hgetall(_KEY)
                (lineage, now), found = await together.execute()
        texts = {redis_connection.as_text(name): text for name, text in found.items()}
        entries = {name: entry for name in sorted(texts) if (entry := _entry(name, texts[name])) is not None}
        return RegistrySnapshot(_optional_text(lineage), _optional_text(now), entries)

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._connection.close()

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[Any]:
        """What is put into the pipeline is done all at once, with a new version."""
        async with self._connection.translated(), self._connection.client.pipeline() as together:
            yield together
            version = uuid.uuid4().hex
            together.set(_LINEAGE_KEY, version, nx=True)
            together.set(_VERSION_KEY, version)
            await together.execute()


def _optional_text(found: str | bytes | None) -> str | None:
    return None if found is None else redis_connection.as_text(found)


def _text(entry: RegistryEntry) -> str:
    spec, started_s = entry.assignment.spec, entry.assignment.started_s
    told = {"spec": _SPEC.dump_python(spec, mode="json"), "started_s": started_s, "is_configured": entry.is_configured}
    return json.dumps(told)


def _entry(name: str, text: str | bytes) -> RegistryEntry | None:
    try:
        told = json.loads(text)
        spec = _SPEC.validate_python(told["spec"])
        return RegistryEntry(Assignment(spec=spec, started_s=float(told["started_s"])), bool(told["is_configured"]))
    except (ValueError, KeyError, TypeError, AttributeError, CameraError) as error:
        log.error("remembered_camera_unreadable", camera=name, reason=type(error).__name__)
        return None


_SPEC = pydantic.TypeAdapter(CameraSpec)
