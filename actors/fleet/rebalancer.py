"""Moves cameras between shards that live: as ordered, off a shard that is drained, and to where there is more room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from actors.errors import CameraRecovering, InvalidShard, ServiceError
from actors.fleet.reconciler import Reconciler
from actors.fleet.state import CameraRecord, FleetState
from cache_store.checkpoint import StoreError
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraError, CameraState
from pipeline.network import urls
from pipeline.network.urls import FileUrl

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.05
_LONGEST_WAIT_S = 6.0  # for the next owner's first frame, and for the last one to have seen it too
# A device's load is an average over some time: after a move for its sake it says nothing for a while.
_UNEQUAL_LOAD = 0.3
_LOAD_SETTLES_S = 60.0


class Rebalancer:
    """Moves cameras with all tiers of their memories. One event loop owns it, with the board."""

    def __init__(self, board: FleetState, reconciler: Reconciler) -> None:
        self._board = board
        self._reconciler = reconciler
        self._load_settled_s = 0.0
        self._balanced: tuple[str | None, ...] = ()  # the shards that there were then

    async def move(self, placed: CameraRecord, target: int) -> None:
        """Moves a camera; questions that come meanwhile wait, and both shards read its stream for a moment.

        Raises TooManyCameras, InvalidShard, StoreError, ShardUnavailable, CameraRecovering; then it stays where it was.
        """
        name = placed.spec.name
        async with placed.changing:
            source = placed.shard_index
            if source == target:
                return
            await self._overlap(placed, target)
            placed.settled.clear()
            began_s = asyncio.get_running_loop().time()
            try:
                successor = self._board.places[target].incarnation
                await self._board.places[source].shard.remove_camera(name, is_forgotten=False, successor=successor)
                self._board.reassign(placed, target)
                await self._reconciler.hand_over(placed)
            except UnknownCamera:
                raise CameraRecovering(f"camera {name!r}: {placed.why_away}") from None
            except (CameraError, StoreError, ServiceError):
                # Its memory is saved whole: the next reconciliation brings it back.
                self._board.reassign(placed, source)
                raise
            finally:
                placed.settled.set()
            paused_s = round(asyncio.get_running_loop().time() - began_s, 3)
        log.info("camera_moved", camera=name, from_shard=source, to_shard=target, paused_s=paused_s)

    async def empty(self, index: int) -> None:
        """Moves every camera of a shard to where there is room; one that finds none stays, and the log says so."""
        for placed in self._board.on(index):
            takers = self._board.takers(but=index)
            try:
                if not takers:
                    raise InvalidShard("no other shard has room")
                await self.move(placed, takers[0])
            except (CameraError, StoreError, ServiceError) as error:
                log.warning("camera_not_moved", camera=placed.spec.name, from_shard=index, reason=str(error))

    async def balance(self) -> None:
        """Moves one camera to where there is more room, if all are well and that makes shards more alike.

        By numbers only until they are equal, after shards came or went: later orders are not undone.
        """
        if any(placed.status.state is CameraState.RECOVERING for placed in self._board.placed.values()):
            return
        shards = tuple(place.incarnation for place in self._board.places if place.is_open)
        move = self._unequal_loads() if shards == self._balanced else self._unequal_numbers()
        if move is None:
            self._balanced = shards
            return
        placed, target = move
        try:
            await self.move(placed, target)
        except (CameraError, StoreError, ServiceError) as error:
            log.warning("camera_not_moved", camera=placed.spec.name, to_shard=target, reason=str(error))

    def _unequal_numbers(self) -> tuple[CameraRecord, int] | None:
        counts = self._counts()
        fullest, emptiest = max(counts, key=lambda one: counts[one], default=0), self._emptiest(counts)
        if emptiest is None or counts[fullest] - counts[emptiest] < 2:
            return None
        return self._least_asked(fullest), emptiest

    def _unequal_loads(self) -> tuple[CameraRecord, int] | None:
        now_s = asyncio.get_running_loop().time()
        counts, places = self._counts(), self._board.places
        busiest = max(counts, key=lambda one: places[one].busy_share, default=0)
        idlest = min(self._roomy(counts), key=lambda one: places[one].busy_share, default=None)
        if idlest is None or now_s < self._load_settled_s or counts.get(busiest, 0) < 2:
            return None
        if places[busiest].busy_share - places[idlest].busy_share < _UNEQUAL_LOAD:
            return None
        self._load_settled_s = now_s + _LOAD_SETTLES_S
        return self._least_asked(busiest), idlest

    def _counts(self) -> dict[int, int]:
        """Cameras of each shard that takes some, spares aside."""
        counts = self._board.counts()
        return {index: counts[index] for index in self._board.in_use()}

    def _emptiest(self, counts: dict[int, int]) -> int | None:
        return min(self._roomy(counts), key=lambda one: counts[one], default=None)

    def _roomy(self, counts: dict[int, int]) -> list[int]:
        return [index for index in counts if counts[index] < self._board.places[index].slots]

    def _least_asked(self, index: int) -> CameraRecord:
        return min(self._board.on(index), key=lambda placed: placed.asked_s)

    async def _overlap(self, placed: CameraRecord, target: int) -> None:
        """Lets the next owner open the stream and waits until the last one has seen its first frame too.

        Where that does not come about, frames between the two are lost, and the memory's gaps say so. Recordings wait
        for their readers. Raises TooManyCameras, InvalidShard, ShardUnavailable.
        """
        if isinstance(urls.parse(placed.spec.url), FileUrl):
            return
        name, source = placed.spec.name, self._board.place_of(placed).shard
        taking = self._board.places[target].shard
        await taking.add_camera(replace(placed.assignment, is_standby=True))

        async def first_held_s() -> float | None:
            return (await taking.status()).standby.get(name)

        async def newest_s() -> float | None:
            found = [camera for camera in (await source.status()).cameras if camera.name == name]
            return found[0].memory.newest_s if found else None

        since_s = await _until(first_held_s)
        if since_s is not None:
            await _until(newest_s, at_least=since_s)


async def _until(look: Callable[[], Awaitable[float | None]], at_least: float = 0.0) -> float | None:
    """What is seen as soon as it is that much, None if that takes too long."""
    deadline_s = asyncio.get_running_loop().time() + _LONGEST_WAIT_S
    while asyncio.get_running_loop().time() < deadline_s:
        seen = await look()
        if seen is not None and seen >= at_least:
            return seen
        await asyncio.sleep(_LOOK_EVERY_S)
    return None
