"""What a cluster's shards and store really have, seen past its servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping

from actors.config.schema import HermesConfig
from actors.errors import ServiceError
from actors.fleet.redis_registry import RedisRegistry
from actors.fleet.registry import RegistryEntry
from actors.shard.interface import ShardStatus
from actors.shard.ray_shard import RemoteShard
from cache_store import redis_keys
from cache_store.leases import FENCED
from cache_store.manifest import Manifest
from cache_store.redis_connection import RedisConnection
from cache_store.redis_leases import RedisLeases
from pipeline.cameras import CameraState, CameraStatus
from tests.chaos.history import Event, History

_STATUS_TIMEOUT_S = 2.0
_OLDER = "before the camera was added"


class ClusterState:
    """Notes owners, restored memories and checkpoints in a history. Ray must be joined. Raises StoreUnavailable."""

    def __init__(self, settings: HermesConfig, history: History) -> None:
        self._history = history
        self._shards = [RemoteShard(index, settings, settings.store) for index in range(settings.shards.count)]
        self._registry, self._leases = RedisRegistry(settings.store), RedisLeases(settings.store)
        self._store = RedisConnection(settings.store, timeout_s=2.0, retries=0)
        self._names: dict[str, str] = {}  # of every camera that ever was, by id
        self._started_s: dict[str, float] = {}
        self._epochs: dict[str, int] = {}

    async def close(self) -> None:
        for connection in (self._registry, self._leases, self._store):
            await connection.close()

    async def note(self) -> None:
        """Notes each owner, what it has when it is first seen, and then what is committed."""
        entries = await self.entries()
        for status in await self._statuses():
            for camera in status.cameras if status is not None else ():
                if camera.state is CameraState.LIVE and camera.id in self._names:
                    self._note_owner(status.incarnation, camera)
        for camera_id in [entry.id for entry in entries.values()]:
            if (manifest := await self._newest(camera_id)) is not None:
                self._add("commit", camera_id, manifest.epoch, manifest.incarnation, frames=manifest.facts.frames_seen)

    async def entries(self) -> Mapping[str, RegistryEntry]:
        """The cameras that are wanted now, by name."""
        changes = await self._registry.changes_since(None)
        assert changes is not None
        for entry in changes.entries.values():
            self._names[entry.id], self._started_s[entry.id] = entry.name, entry.assignment.started_s
        self._names |= changes.removals
        return changes.entries

    def ids_of(self, name: str) -> list[str]:
        """The ids of all cameras that ever had this name."""
        return [camera_id for camera_id, other in self._names.items() if other == name]

    async def at_end(self) -> list[Event]:
        """What is registered, what the shards watch, and what is left of everything that ever was."""
        entries = (await self.entries()).values()
        events = [
            Event(time.time(), "present", entry.id, name=entry.name, detail=_revision(entry.assignment.revision))
            for entry in entries
        ]
        for index, status in enumerate(await self._statuses()):
            if status is None:
                events.append(Event(time.time(), "watched", f"shard {index}", detail="it does not answer"))
                continue
            events += [
                Event(time.time(), "watched", camera.id, detail=_revision(camera.revision)) for camera in status.cameras
            ]
        return events + await self._left(set(self._names) - {entry.id for entry in entries})

    async def _left(self, removed: Iterable[str]) -> list[Event]:
        events = []
        for camera_id in removed:
            name = self._names[camera_id]
            events.append(Event(time.time(), "unregistered", camera_id, name=name))
            owner = await self._leases.owner(camera_id)
            if owner is not None and owner.incarnation != FENCED:
                events.append(Event(time.time(), "left", camera_id, name=name, detail=f"lease of {owner.incarnation}"))
            if await self._newest(camera_id) is not None:
                events.append(Event(time.time(), "left", camera_id, name=name, detail="checkpoint"))
        return events

    async def _statuses(self) -> list[ShardStatus | None]:
        return list(await asyncio.gather(*map(self._status, self._shards)))

    async def _status(self, shard: RemoteShard) -> ShardStatus | None:
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                return await shard.status()
        except (ServiceError, TimeoutError):
            return None

    def _note_owner(self, incarnation: str, camera: CameraStatus) -> None:
        if camera.epoch <= self._epochs.get(camera.id, 0):
            return
        self._epochs[camera.id] = camera.epoch
        self._add("owned", camera.id, camera.epoch, incarnation)
        oldest_s, started_s = camera.memory.oldest_s, self._started_s.get(camera.id, 0.0)
        scene = _OLDER if oldest_s is not None and oldest_s < started_s else f"{camera.id} {started_s}"
        frames = camera.memory.frames_seen
        self._add("restored", camera.id, camera.epoch, incarnation, frames=frames, scenes=(scene,))

    def _add(self, kind: str, camera_id: str, epoch: int, incarnation: str, **facts: object) -> None:
        name = self._names[camera_id]
        self._history.add(Event(time.time(), kind, camera_id, epoch, incarnation, name=name, **facts))

    async def _newest(self, camera_id: str) -> Manifest | None:
        async with self._store.operation():
            texts = await self._store.client.lrange(redis_keys.manifests(camera_id), 0, 0)
        return Manifest.from_text(texts[0]) if texts else None


def _revision(number: int) -> str:
    return f"revision {number}"
