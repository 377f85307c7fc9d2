"""The cameras that were added while a system ran, kept so that the next one watches them too."""

from __future__ import annotations

import json
from typing import Protocol

import pydantic
import structlog

from actors import shard
from cache_store import redis_store
from pipeline import cameras

log = structlog.get_logger(__name__)

_KEY = "hermes:cameras"
_TIMEOUT_S = 2.0
_RETRIES = 1


class CameraRegistry(Protocol):
    """Remembers assignments by the camera's name. Every method raises StoreUnavailable.

    URLs are kept as they were given, credentials included: who can read the store can read them.
    """

    async def remember(self, assignment: shard.Assignment) -> None:
        """Adds the camera, or replaces what was known of it."""
        ...

    async def forget(self, name: str) -> None:
        """Removes the camera; nothing happens if it is not known."""
        ...

    async def remembered(self) -> list[shard.Assignment]:
        """Every camera, by name. One whose entry cannot be read is left out, with a line in the log."""
        ...


class InMemoryRegistry:
    """A CameraRegistry that ends with its process."""

    def __init__(self) -> None:
        self._known: dict[str, shard.Assignment] = {}

    async def remember(self, assignment: shard.Assignment) -> None:
        self._known[assignment.spec.name] = assignment

    async def forget(self, name: str) -> None:
        self._known.pop(name, None)

    async def remembered(self) -> list[shard.Assignment]:
        return [self._known[name] for name in sorted(self._known)]


class RedisRegistry:
    """A CameraRegistry in the hash `hermes:cameras`."""

    def __init__(self, url: str) -> None:
        self._connection = redis_store.Connection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)

    async def remember(self, assignment: shard.Assignment) -> None:
        spec = assignment.spec
        entry = {"url": spec.url, "pace": spec.pace, "gate": spec.gate, "started_s": assignment.started_s}
        async with self._connection.translated():
            await self._connection.client.hset(_KEY, spec.name, json.dumps(entry))

    async def forget(self, name: str) -> None:
        async with self._connection.translated():
            await self._connection.client.hdel(_KEY, name)

    async def remembered(self) -> list[shard.Assignment]:
        async with self._connection.translated():
            entries = await self._connection.client.hgetall(_KEY)
        texts = {redis_store.as_text(name): text for name, text in entries.items()}
        found = (_assignment(name, texts[name]) for name in sorted(texts))
        return [assignment for assignment in found if assignment is not None]

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._connection.close()


def _assignment(name: str, text: str | bytes) -> shard.Assignment | None:
    try:
        entry = json.loads(text)
        started_s = float(entry.pop("started_s"))
        return shard.Assignment(spec=_SPEC.validate_python({"name": name, **entry}), started_s=started_s)
    except (ValueError, KeyError, TypeError, AttributeError, cameras.CameraError) as error:
        log.error("remembered_camera_unreadable", camera=name, reason=type(error).__name__)
        return None


_SPEC = pydantic.TypeAdapter(cameras.CameraSpec)
