"""Keeps a fleet's cameras equal to the shared registry, so that each fleet sees what any fleet adds or removes."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from actors.fleet import configured_cameras
from actors.fleet.configured_cameras import ConfiguredCameras, ListChanges
from actors.fleet.records import CameraRecord, RemovalRecord
from actors.fleet.registry import CameraRegistry, RegistryChanges, RegistryEntry
from actors.fleet.state import FleetState
from actors.ownership.leader_election import IsLeader
from actors.shard.interface import Assignment
from cache_store.errors import StoreUnavailable
from pipeline.cameras import CameraSpec

log = structlog.get_logger(__name__)

_ENTRIES_AT_ONCE = 250  # in one write, and in one turn of the event loop: the leader must renew its lease meanwhile


class DesiredState:
    """The cameras that shall be watched. One event loop owns it, with the state.

    The registry is the truth, except where it has lost writes: then what this fleet knows comes back. Entries are
    merged by id: a removed id never comes back, and of two specs of one id the higher revision wins.
    """

    def __init__(
        self, state: FleetState, registry: CameraRegistry, is_leader: IsLeader, *, clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._registry = registry
        self._is_leader = is_leader
        self._clock = clock
        self._configuration: ConfiguredCameras | None = None
        self._entries: dict[str, RegistryEntry] = {}
        self._lineage: str | None = None
        self._version: str | None = None
        self._lock = asyncio.Lock()

    def configure(self, configuration: ConfiguredCameras) -> None:
        """Takes the cameras of this fleet's configuration; the next sync applies it."""
        self._configuration = configuration

    async def sync(self) -> bool:
        """Applies what changed in the registry, then the configuration. -> whether anything changed in the registry

        Raises StoreUnavailable.
        """
        async with self._lock:
            has_changed = await self._read()
            if self._configuration is not None and (pending := self._configuration.pending(self._entries)):
                await self._apply_configuration(pending)
                self._configuration.mark_applied(pending)
            self._state.mark_synced(asyncio.get_running_loop().time())
            return has_changed

    async def publish(self, spec: CameraSpec) -> RegistryEntry:
        """Adds a camera for every fleet, with a new id. -> the entry of this name, another's if it was first

        Raises StoreUnavailable.
        """
        entry = self._new_entry(spec)
        async with self._lock:
            try:
                entries = await self._registry.add(entry)
                for present in entries.values():
                    self._apply_entry(present)
                await self._read_own_write()
            except (StoreUnavailable, asyncio.CancelledError):
                # The store may have taken it although its reply was lost, or its caller has given up. The next sync
                # removes it then.
                self._forget(spec.name, entry.id)
                raise
        return entries[spec.name]

    async def update(self, record: CameraRecord, spec: CameraSpec) -> bool:
        """Changes the spec of a camera for every fleet. -> False if another fleet changed or removed it first

        Raises StoreUnavailable.
        """
        assignment = replace(record.assignment, spec=spec, revision=record.assignment.revision + 1)
        entry = replace(self._entries[record.spec.name], assignment=assignment)
        async with self._lock:
            if not await self._registry.update(entry):
                return False
            self._apply_entry(entry)
            await self._read_own_write()
        return True

    async def replace(self, record: CameraRecord, spec: CameraSpec) -> bool:
        """Puts another camera, with a new id, in the place of this one. -> False if another fleet changed it first

        Raises StoreUnavailable.
        """
        entry = self._new_entry(spec, is_configured=self._entries[record.spec.name].is_configured)
        async with self._lock:
            is_replaced = await self._replace(record.id, entry)
            await self._read_own_write()
        return is_replaced

    async def remove(self, name: str, camera_id: str) -> None:
        """Begins the removal of a camera for every fleet. Raises StoreUnavailable; then it is watched as before."""
        async with self._lock:
            await self._remove(name, camera_id)
            await self._read_own_write()

    async def withdraw_later(self, record: CameraRecord) -> None:
        """Ends a camera here, and in the registry by the next sync, which reads everything to find it there."""
        async with self._lock:
            self._forget(record.spec.name, record.id)
            self._version = None

    async def end_fenced(self, record: CameraRecord) -> None:
        """Ends a camera whose removal the registry has lost; a configured one begins anew. Raises StoreUnavailable."""
        entry = self._entries.get(record.spec.name)
        if entry is not None and entry.is_configured:
            await self.replace(record, record.spec)
        else:
            await self.remove(record.spec.name, record.id)

    async def _read(self) -> bool:
        changes = await self._registry.changes_since(self._version)
        if changes is None:
            return False
        await self._apply(changes)
        # Only now: where applying broke off, everything is read and compared again.
        self._lineage, self._version = changes.lineage, changes.version
        return True

    async def _read_own_write(self) -> None:
        """Reads the version after a write of this fleet, so that the loss of this write will be noticed."""
        with contextlib.suppress(StoreUnavailable):
            await self._read()

    async def _apply_configuration(self, changes: ListChanges) -> None:
        if changes.refused:
            log.warning("configuration_not_applied", cameras=changes.refused_names, reason=changes.reason)
        watched = configured_cameras.watched_entries(changes.add, self._state.shards, self._state.removed)
        new = [watched.get(spec.name) or self._new_entry(spec, is_configured=True) for spec in changes.add]
        for present, spec in changes.replace:
            entry = self._new_entry(spec, is_configured=True)
            if not await self._replace(present.id, entry):
                new.append(entry)
        for entry in changes.update:
            if await self._registry.update(entry):
                self._apply_entry(entry)
        for entry in changes.remove:
            removal = await self._remove(entry.name, entry.id)
            log.info("camera_left_configuration", **removal.log_fields)
        accepted = await self._add(new)
        # An id that a shard still watches may be that of a camera whose removal is not finished.
        refused = [entry.assignment.spec for entry in new if entry.name not in accepted]
        await self._add([self._new_entry(spec, is_configured=True) for spec in refused])

    def _new_entry(self, spec: CameraSpec, *, is_configured: bool = False) -> RegistryEntry:
        return RegistryEntry(Assignment(id=uuid.uuid4().hex, spec=spec, started_s=self._clock()), is_configured)

    async def _add(self, entries: Sequence[RegistryEntry]) -> Mapping[str, RegistryEntry]:
        """-> the entries of these names then; a name whose camera was removed meanwhile has none"""
        found: dict[str, RegistryEntry] = {}
        for first in range(0, len(entries), _ENTRIES_AT_ONCE):
            present = await self._registry.add(*entries[first : first + _ENTRIES_AT_ONCE])
            for entry in present.values():
                self._apply_entry(entry)
            found |= present
        return found

    async def _replace(self, camera_id: str, entry: RegistryEntry) -> bool:
        is_replaced = await self._registry.remove(entry.name, camera_id, successor=entry)
        if is_replaced:
            log.info("camera_has_another_source", camera=entry.name)
            self._apply_entry(entry)
        return is_replaced

    async def _remove(self, name: str, camera_id: str) -> RemovalRecord:
        await self._registry.remove(name, camera_id)
        return self._forget(name, camera_id)

    async def _apply(self, changes: RegistryChanges) -> None:
        has_lost_writes = changes.is_rolled_back or (self._lineage is not None and changes.lineage != self._lineage)
        before = dict(self._entries)
        for number, entry in enumerate(changes.entries.values(), start=1):
            if number % _ENTRIES_AT_ONCE == 0:
                await asyncio.sleep(0)
            if entry.id in self._state.removed:
                await self._registry.remove(entry.name, entry.id)  # the registry has lost this removal
            else:
                self._apply_entry(entry)
        if changes.is_complete:
            if has_lost_writes:
                log.warning("registry_lost_writes", cameras=len(before))
            absent = sorted(before.keys() - changes.entries.keys())
            await self._bring_back([before[name] for name in absent], changes.entries)
        else:
            for name in sorted(before.keys() & changes.absent):
                self._forget_removed(before[name])
        self._apply_removals(changes.removals)

    async def _bring_back(self, lost: Sequence[RegistryEntry], present: Mapping[str, RegistryEntry]) -> None:
        """Writes what this fleet knows and the registry lacks; what was removed is refused there and forgotten.

        Whether it was lost cannot be told otherwise: the registry may have been lost again before this fleet read it.
        """
        accepted = await self._add([entry for entry in lost if entry.id not in self._state.removed])
        for entry in lost:
            if entry.name not in accepted:
                self._forget_removed(entry)
        for entry in tuple(self._entries.values()):
            newer = entry.replacing(present.get(entry.name))
            if newer is not None and await self._registry.update(newer):
                self._apply_entry(newer)

    def _apply_removals(self, removals: Mapping[str, str]) -> None:
        for camera_id, name in removals.items():
            self._forget(name, camera_id)
        if not self._is_leader():
            # The leader ends each removed camera once more, because its own shards may just have been adding it.
            for camera_id in sorted(self._state.removals.keys() - removals.keys()):
                self._state.end_removal(camera_id)

    def _apply_entry(self, entry: RegistryEntry) -> None:
        """Takes an entry over. Of one id, the higher revision counts."""
        record = self._state.cameras.get(entry.name)
        if record is not None and record.id != entry.id:
            self._state.begin_removal(record.id, entry.name)
            record = None
        if record is None:
            self._state.add(entry.assignment)
        elif record.assignment.revision < entry.assignment.revision:
            self._state.update(record, entry.assignment)
        else:
            return
        self._entries[entry.name] = entry

    def _forget_removed(self, entry: RegistryEntry) -> None:
        log.info("camera_removed_elsewhere", **self._forget(entry.name, entry.id).log_fields)

    def _forget(self, name: str, camera_id: str) -> RemovalRecord:
        if name in self._entries and self._entries[name].id == camera_id:
            del self._entries[name]
        return self._state.begin_removal(camera_id, name)
