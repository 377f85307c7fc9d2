"""Keeps a fleet's board and the registry of cameras alike: what one fleet adds or removes, all of them hear of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from actors.fleet.registry import CameraRegistry, RegistryEntry, RegistrySnapshot
from actors.fleet.state import CameraRecord, FleetState
from cache_store.checkpoint import StoreUnavailable

log = structlog.get_logger(__name__)

_AT_ONCE = 500


class DesiredState:
    """Which cameras the board has. One event loop owns it, with the board."""

    def __init__(self, board: FleetState, known: CameraRegistry) -> None:
        self._board = board
        self._registry = known
        self._lineage: str | None = None
        self._version: str | None = None
        self._changing = asyncio.Lock()

    async def follow(self) -> None:
        """Brings board and registry together. Raises StoreUnavailable."""
        async with self._changing:
            await self._publish([placed for placed in self._board.placed.values() if self._is_news(placed)])
            known = await self._registry.snapshot_since(self._version)
            if known is None:
                return
            if known.lineage != self._lineage:
                known = await self._reminded(known)
            self._lineage, self._version = known.lineage, known.version
            self._apply(known)

    async def publish(self, placed: CameraRecord) -> None:
        """Lets every fleet know of a camera. Raises StoreUnavailable."""
        async with self._changing:
            await self._publish([placed])

    async def drop(self, name: str) -> None:
        """Forgets a camera; where the store does not, it comes back with the next system, and the log says so."""
        async with self._changing:
            self._board.drop(name)
            try:
                await self._registry.remove(name)
            except StoreUnavailable as error:
                log.error("camera_still_remembered", camera=name, reason=str(error))

    async def remove_unconfigured(self) -> None:
        """Forgets what only an earlier configuration named, and other cameras of a name that this one uses.

        Raises StoreUnavailable.
        """
        known = await self._registry.snapshot_since(None)
        for name, entry in known.entries.items() if known else ():
            placed = self._board.placed.get(name)
            is_other = placed is not None and placed.spec != entry.assignment.spec
            if is_other or (placed is None and entry.is_configured):
                await self._registry.remove(name)

    @staticmethod
    def _is_news(placed: CameraRecord) -> bool:
        """One that was added by hand is published by whoever adds it, or not at all."""
        return placed.is_configured and not placed.is_known

    async def _publish(self, new: Sequence[CameraRecord]) -> None:
        for first in range(0, len(new), _AT_ONCE):
            several = new[first : first + _AT_ONCE]
            await self._registry.add(*(RegistryEntry(placed.assignment, placed.is_configured) for placed in several))
            for placed in several:
                placed.is_known = True

    async def _reminded(self, known: RegistrySnapshot) -> RegistrySnapshot:
        """What a registry that is new, or came back empty, knows when it was told all that this fleet knows."""
        if self._lineage is not None:
            log.warning("registry_forgotten", cameras=len(self._board.placed))
        while True:
            before = known.lineage
            await self._publish(list(self._board.placed.values()))
            known = await self._all_known()
            # Else it forgot again while it was told.
            if known.lineage == before:
                return known

    async def _all_known(self) -> RegistrySnapshot:
        known = await self._registry.snapshot_since(None)
        assert known is not None
        return known

    def _apply(self, known: RegistrySnapshot) -> None:
        for name, entry in known.entries.items():
            placed = self._board.placed.get(name)
            if placed is None or placed.spec != entry.assignment.spec:
                placed = self._board.put(entry.assignment, is_configured=entry.is_configured)
            placed.is_known = True
        for name, placed in tuple(self._board.placed.items()):
            if placed.is_known and name not in known.entries:
                log.info("camera_removed_elsewhere", camera=name)
                self._board.drop(name)
