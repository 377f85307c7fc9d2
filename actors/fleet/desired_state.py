"""Keeps a fleet's cameras equal to the shared registry, so that every fleet sees what any fleet adds or removes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from actors.fleet.records import CameraRecord
from actors.fleet.registry import CameraRegistry, RegistryEntry, RegistrySnapshot
from actors.fleet.state import FleetState
from cache_store.errors import StoreUnavailable

log = structlog.get_logger(__name__)

_ENTRIES_PER_WRITE = 500


class DesiredState:
    """The cameras that shall be watched. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, registry: CameraRegistry) -> None:
        self._state = state
        self._registry = registry
        self._lineage: str | None = None
        self._version: str | None = None
        self._lock = asyncio.Lock()

    async def sync(self) -> None:
        """Writes unpublished cameras of the configuration to the registry, then applies the registry to the state.

        Raises StoreUnavailable.
        """
        async with self._lock:
            await self._publish([record for record in self._state.cameras.values() if self._is_unpublished(record)])
            snapshot = await self._registry.snapshot_since(self._version)
            if snapshot is None:
                return
            if snapshot.lineage != self._lineage:
                snapshot = await self._publish_all(snapshot)
            self._lineage, self._version = snapshot.lineage, snapshot.version
            self._apply(snapshot)

    async def publish(self, record: CameraRecord) -> None:
        """Writes a camera to the registry, for every fleet. Raises StoreUnavailable."""
        async with self._lock:
            await self._publish([record])

    async def remove(self, name: str) -> None:
        """Removes a camera from state and registry.

        If the store is unavailable, the camera comes back with the next system, and the log says so.
        """
        async with self._lock:
            self._state.remove(name)
            try:
                await self._registry.remove(name)
            except StoreUnavailable as error:
                log.error("camera_not_unregistered", camera=name, reason=str(error))

    async def remove_unconfigured(self) -> None:
        """Removes registry entries that only an earlier configuration named, or that differ from this configuration.

        Raises StoreUnavailable.
        """
        snapshot = await self._registry.snapshot_since(None)
        for name, entry in snapshot.entries.items() if snapshot else ():
            record = self._state.cameras.get(name)
            is_different = record is not None and record.spec != entry.assignment.spec
            if is_different or (record is None and entry.is_configured):
                await self._registry.remove(name)

    @staticmethod
    def _is_unpublished(record: CameraRecord) -> bool:
        """A camera that a client adds is published by that call, or not at all."""
        return record.is_configured and not record.is_registered

    async def _publish(self, records: Sequence[CameraRecord]) -> None:
        for first in range(0, len(records), _ENTRIES_PER_WRITE):
            batch = records[first : first + _ENTRIES_PER_WRITE]
            await self._registry.add(*(RegistryEntry(record.assignment, record.is_configured) for record in batch))
            for record in batch:
                record.mark_registered()

    async def _publish_all(self, snapshot: RegistrySnapshot) -> RegistrySnapshot:
        """Writes every camera of this fleet to a registry that is new or came back empty. -> the registry after that"""
        if self._lineage is not None:
            log.warning("registry_lost", cameras=len(self._state.cameras))
        while True:
            lineage = snapshot.lineage
            await self._publish(list(self._state.cameras.values()))
            snapshot = await self._whole_snapshot()
            # With another lineage the registry was lost again during the write.
            if snapshot.lineage == lineage:
                return snapshot

    async def _whole_snapshot(self) -> RegistrySnapshot:
        snapshot = await self._registry.snapshot_since(None)
        assert snapshot is not None
        return snapshot

    def _apply(self, snapshot: RegistrySnapshot) -> None:
        for name, entry in snapshot.entries.items():
            record = self._state.cameras.get(name)
            if record is None or (record.id, record.spec) != (entry.assignment.id, entry.assignment.spec):
                record = self._state.add(entry.assignment, is_configured=entry.is_configured)
            record.mark_registered()
        for name, record in tuple(self._state.cameras.items()):
            if record.is_registered and name not in snapshot.entries:
                log.info("camera_removed_elsewhere", camera=name)
                self._state.remove(name)
