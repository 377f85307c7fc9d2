"""The cameras that shall be watched, kept in the store: those of the configuration and those that clients added."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from actors.shard.interface import Assignment


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A camera that shall be watched. is_configured: a configuration names it, so a later one can remove it."""

    assignment: Assignment
    is_configured: bool = False

    @property
    def id(self) -> str:
        return self.assignment.id

    @property
    def name(self) -> str:
        return self.assignment.spec.name

    def replacing(self, older: RegistryEntry | None) -> RegistryEntry | None:
        """This entry as it replaces one that a registry has again after a loss; None if that one stays.

        A server that takes a camera up on its shard, while the registry is lost, may give a revision a second time.
        """
        revision = self.assignment.revision
        if older is None or older.id != self.id or older.assignment.revision > revision or older == self:
            return None
        if older.assignment.revision < revision:
            return self
        return replace(self, assignment=replace(self.assignment, revision=revision + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryChanges:
    """What changed in the registry since a version.

    lineage: changes when the registry has lost all data; version: after these changes. Both are None for a registry
    that was never written. entries: by name, those that changed, or every one if `is_complete`. absent: names that have
    no entry any more. removals: every camera whose removal is not finished, by id, with its name. is_rolled_back: the
    registry does not know the version, so it has lost writes.
    """

    lineage: str | None
    version: str | None
    entries: Mapping[str, RegistryEntry] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    removals: Mapping[str, str] = field(default_factory=dict)
    is_complete: bool = True
    is_rolled_back: bool = False


class CameraRegistry(Protocol):
    """The desired cameras, shared by all fleets. Every method raises StoreUnavailable; its effect is then unknown.

    A write returns when a replica has it too, where there are replicas. URLs are stored as given, credentials included:
    anyone with access to the store can read them.
    """

    async def add(self, *entries: RegistryEntry) -> Mapping[str, RegistryEntry]:
        """Adds each camera whose name is free and whose id was not removed. -> the entries of all these names then"""
        ...

    async def update(self, entry: RegistryEntry) -> bool:
        """Replaces the entry of this name, if it has the same id and a lower revision. -> whether it was replaced"""
        ...

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        """Makes the entry of this name and id one whose removal is not finished. -> whether there was such an entry

        successor: the entry that takes its name at the same moment.
        """
        ...

    async def finish_removal(self, camera_id: str) -> None:
        """Records that nothing is left of a removed camera."""
        ...

    async def changes_since(self, version: str | None) -> RegistryChanges | None:
        """What changed since this version, everything for None, and None if nothing did.

        Unreadable entries are logged and left out.
        """
        ...


class InMemoryRegistry:
    """A CameraRegistry that ends with its process."""

    def __init__(self) -> None:
        self._entries: dict[str, RegistryEntry] = {}
        self._removals: dict[str, str] = {}
        self._removed: set[str] = set()
        self._lineage: str | None = None
        self._log: list[tuple[str, str]] = []  # version and the name that changed in it

    @property
    def entries(self) -> Mapping[str, RegistryEntry]:
        """Every camera, by name."""
        return self._entries

    async def add(self, *entries: RegistryEntry) -> Mapping[str, RegistryEntry]:
        for entry in entries:
            if entry.name not in self._entries and entry.id not in self._removed:
                self._entries[entry.name] = entry
                self._change(entry.name)
        return {entry.name: self._entries[entry.name] for entry in entries if entry.name in self._entries}

    async def update(self, entry: RegistryEntry) -> bool:
        present = self._entries.get(entry.name)
        if present is None or present.id != entry.id or present.assignment.revision >= entry.assignment.revision:
            return False
        self._entries[entry.name] = entry
        self._change(entry.name)
        return True

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        present = self._entries.get(name)
        if present is None or present.id != camera_id:
            return False
        del self._entries[name]
        if successor is not None:
            self._entries[name] = successor
        self._removals[camera_id] = name
        self._removed.add(camera_id)
        self._change(name)
        return True

    async def finish_removal(self, camera_id: str) -> None:
        if self._removals.pop(camera_id, None) is not None:
            self._change("")

    async def changes_since(self, version: str | None) -> RegistryChanges | None:
        newest = self._log[-1][0] if self._log else None
        if version is not None and version == newest:
            return None
        position = next((index for index, (logged, _) in enumerate(self._log) if logged == version), None)
        if position is None:
            return RegistryChanges(
                lineage=self._lineage,
                version=newest,
                entries=dict(sorted(self._entries.items())),
                removals=dict(self._removals),
                is_rolled_back=version is not None,
            )
        names = {name for _, name in self._log[position + 1 :] if name}
        return RegistryChanges(
            lineage=self._lineage,
            version=newest,
            entries={name: self._entries[name] for name in sorted(names) if name in self._entries},
            absent=frozenset(names - self._entries.keys()),
            removals=dict(self._removals),
            is_complete=False,
        )

    def forget_everything(self) -> None:
        """Loses all data, like a store that comes back empty."""
        self.__init__()  # type: ignore[misc]

    def backup(self) -> InMemoryRegistry:
        """A copy as a replica has it, for `roll_back`."""
        return copy.deepcopy(self)

    def roll_back(self, backup: InMemoryRegistry) -> None:
        """Loses every write since the backup, like a failover to a replica that did not have them."""
        self.__dict__.update(copy.deepcopy(backup.__dict__))

    def _change(self, name: str) -> None:
        version = uuid.uuid4().hex
        self._lineage = self._lineage or version
        self._log.append((version, name))
