"""Ends a removed camera for good: its owner is fenced, no shard watches it, and nothing of its memory is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from actors.errors import ShardUnavailable
from actors.fleet.records import RemovalRecord
from actors.fleet.registry import CameraRegistry
from actors.fleet.state import FleetState
from cache_store.leases import Owner

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MemoryEraser:
    """What the store does for a removal: Leases.fence and CheckpointStore.delete. Both raise StoreError."""

    fence: Callable[[str], Awaitable[Owner]]
    delete: Callable[[str, Owner], Awaitable[None]]


class Remover:
    """Finishes removals. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, registry: CameraRegistry, eraser: MemoryEraser) -> None:
        self._state = state
        self._registry = registry
        self._eraser = eraser

    async def finish(self, removal: RemovalRecord) -> None:
        """Fences the owner, ends the camera on every shard, deletes its checkpoints, then ends the removal.

        Raises StoreUnavailable and ShardUnavailable; then the removal has to be finished later.
        """
        async with removal.lock:
            if removal.id not in self._state.removals:
                return  # another call or plan has finished it meanwhile
            fence = await self._eraser.fence(removal.id)
            removal.fence(fence.epoch)
            await asyncio.gather(*(self._drop(removal, index) for index in self._places(removal)))
            await self._eraser.delete(removal.id, fence)
            await self._registry.finish_removal(removal.id)
            self._state.end_removal(removal.id)
        log.info("camera_removed", **removal.log_fields)

    def _places(self, removal: RemovalRecord) -> list[int]:
        """The shards that may have the camera."""
        return [
            index
            for index, shard in enumerate(self._state.shards)
            if index == removal.shard_index or removal.id in shard.reported or removal.id in shard.standby
        ]

    async def _drop(self, removal: RemovalRecord, index: int) -> None:
        shard = self._state.shards[index]
        try:
            with shard.acting():
                await shard.perform(shard.shard.drop_camera(removal.id))
        except ShardUnavailable as error:
            if shard.lapsed.is_set():
                return  # it owns nothing, and ends what it watched when it hears of that
            raise ShardUnavailable(
                f"camera {removal.name!r} is removed, but shard {index} may still watch it and does not answer: "
                f"{error}; the removal is finished as soon as it answers or its lease has expired"
            ) from error
