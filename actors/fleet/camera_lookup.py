"""Finds cameras by name, also one that another fleet has just added."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from actors.fleet.records import CameraRecord
from actors.fleet.state import FleetState
from cache_store.errors import StoreUnavailable

_READ_EVERY_S = 0.2  # at most
_TIMEOUT_S = 1.0


class CameraLookup:
    """Reads the registry once more for a name that is not known. One event loop owns it, with the state.

    sync: reads the registry; raises StoreUnavailable. However many ask, it is called at most five times a second.
    """

    def __init__(self, state: FleetState, sync: Callable[[], Awaitable[object]]) -> None:
        self._state = state
        self._sync = sync
        self._next_read: asyncio.Task[None] | None = None

    async def find(self, name: str) -> CameraRecord:
        """The record of a camera. Takes up to 1 s where it is not known. Raises UnknownCamera."""
        if name not in self._state.cameras:
            if self._next_read is None:
                self._next_read = asyncio.create_task(self._read_soon())
            await asyncio.wait((self._next_read,), timeout=_TIMEOUT_S)
        return self._state.find(name)

    async def _read_soon(self) -> None:
        due_s = self._state.synced_s + _READ_EVERY_S
        await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
        self._next_read = None  # whoever asks from now on needs a read that begins later
        with contextlib.suppress(StoreUnavailable):
            await self._sync()
