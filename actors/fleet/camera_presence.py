"""Whether a camera that its shard does not have any more is still the fleet's camera."""

from __future__ import annotations

import asyncio
import contextlib

from actors.fleet.desired_state import DesiredState
from actors.fleet.records import CameraRecord
from actors.fleet.state import FleetState
from cache_store.errors import StoreUnavailable
from pipeline.cameras import CameraChanged, CameraSpec

_SYNC_TIMEOUT_S = 2.0  # a caller waits for it


class CameraPresence:
    """Asks the registry what other servers did to a camera a moment ago. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, desired: DesiredState) -> None:
        self._state = state
        self._desired = desired

    async def require(self, record: CameraRecord) -> None:
        """Raises UnknownCamera if the camera was removed by any server, CameraChanged if another one has its name.

        While the store does not answer, what this fleet knows counts.
        """
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_SYNC_TIMEOUT_S):
                await self._desired.sync()
        if self._state.find(record.spec.name) is not record:
            raise changed(record.spec)


def changed(spec: CameraSpec) -> CameraChanged:
    """The error of a call that lost against another one."""
    return CameraChanged(f"camera {spec.name!r} was changed by another call at the same moment; try again")
