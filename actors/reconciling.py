"""Brings every camera to its shard and back to it, and to another one when its own is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from actors import placement, succession
from actors.errors import ServiceError, ShardUnavailable
from cache_store import checkpoint, leases
from pipeline import cameras

log = structlog.get_logger(__name__)

_EVERY_S = 1.0


class Reconciler:
    """Makes what is true of the shards what the board says. One event loop owns both."""

    def __init__(self, board: placement.Board, owners: succession.Succession) -> None:
        self._board = board
        self._owners = owners

    async def run(self) -> None:
        """Reconciles for ever; each shard at its own pace, as one may hang."""
        work: list[Callable[[], Awaitable[None]]] = [partial(self._reconcile, index) for index in self._indices]
        await asyncio.gather(*(_again_and_again(one) for one in (self._watch_leases, *work)))

    async def once(self) -> None:
        """Looks at every shard once and gives it, or in its place another, what it lacks."""
        await self._watch_leases()
        await asyncio.gather(*(self._reconcile(index) for index in self._indices))

    async def look_everywhere(self) -> None:
        """Notes how all cameras are doing."""
        await asyncio.gather(*(self.look(index) for index in self._indices))

    async def look(self, index: int) -> list[placement.Placed]:
        """Notes how a shard's cameras are doing; returns those that it lacks."""
        place = self._board.places[index]
        try:
            status = await place.shard.status()
        except ShardUnavailable as error:
            if place.is_up:
                log.warning("shard_down", shard=index, reason=str(error))
            place.is_up = False
            for placed in self._board.on(index):
                placed.recover(f"shard {index} is restarting")
            return []
        if not place.is_up:
            log.info("shard_up", shard=index, pid=status.pid)
        if place.incarnation != status.incarnation:
            place.incarnation, place.gone = status.incarnation, None
        place.is_up, place.pid = True, status.pid
        there = {camera.name: camera for camera in status.cameras}
        self._adopt(index, status.cameras)
        missing = []
        for placed in self._board.on(index):
            if placed.spec.name in there:
                placed.note(there[placed.spec.name])
            else:
                placed.miss()
            if placed.spec.name not in there or placed.status.epoch < placed.newest_epoch:
                missing.append(placed)
        return missing

    def _adopt(self, index: int, found: Sequence[cameras.CameraStatus]) -> None:
        """Follows a camera to the shard that owns it by now, e.g. after a hand-over of which no answer came."""
        for status in found:
            placed = self._board.placed.get(status.name)
            if placed is not None and placed.shard_index != index and status.epoch > placed.newest_epoch:
                log.info("camera_found", camera=status.name, expected_on=placed.shard_index, shard=index)
                placed.shard_index = index

    async def _watch_leases(self) -> None:
        """Notes which shards' leases have stood still; a store that is away proves nothing."""
        for place in self._board.places:
            if place.incarnation is not None:
                try:
                    place.gone = await self._owners.gone(place.incarnation)
                except checkpoint.StoreUnavailable:
                    place.gone = None

    async def _reconcile(self, index: int) -> None:
        place = self._board.places[index]
        for placed in await self.look(index):
            async with place.changing:
                if self._board.placed.get(placed.spec.name) is placed and placed.shard_index == index:
                    await self._bring(placed)
        if not place.is_up and place.gone is not None:
            await self._evacuate(index)

    async def _evacuate(self, index: int) -> None:
        """Finds another shard for every camera of one that can be followed, as far as there is room."""
        taken_in = set()
        for placed in self._board.on(index):
            for other in self._board.others(index):
                async with self._board.places[other].changing:
                    placed.shard_index = other
                    try:
                        await self.hand_over(placed)
                    except cameras.TooManyCameras:
                        placed.shard_index = index
                        continue
                    except (cameras.CameraError, checkpoint.StoreError, ServiceError) as error:
                        placed.shard_index = index
                        placed.recover(str(error))
                    else:
                        log.info("camera_moved", camera=placed.spec.name, from_shard=index, to_shard=other)
                        taken_in.add(other)
                    break
            else:
                placed.recover(f"shard {index} is gone, and no other has room")
        for other in taken_in:
            await self.look(other)

    async def _bring(self, placed: placement.Placed) -> None:
        """Gives its shard a camera that it lacks; a failure is shown in the camera's status and tried again."""
        try:
            await self.hand_over(placed)
        except (checkpoint.StoreError, ServiceError) as error:
            placed.recover(str(error))
        except cameras.CameraError as error:
            placed.status = replace(placed.status, state=cameras.CameraState.FAILED, detail=str(error))

    async def hand_over(self, placed: placement.Placed) -> None:
        """Gives its shard the camera; where another owned it, only once that one can be followed.

        Raises CameraError, StoreError, OwnedByAnother among them, and ServiceError.
        """
        held = self._board.places[placed.shard_index].shard
        # Above every epoch that was seen anywhere: a store that forgot, with a clock set back, would grant old ones.
        assignment = replace(placed.assignment, floor=self._board.newest_epoch)
        try:
            await held.add_camera(assignment)
        except leases.OwnedByAnother as error:
            gone = await self._owners.gone(error.incarnation)
            if gone is None:
                raise
            if gone.incarnation != leases.NOBODY:
                log.info("camera_taken_over", camera=placed.spec.name, from_shard=gone.incarnation, died=gone.is_dead)
            await held.add_camera(replace(assignment, gone=gone))

    @property
    def _indices(self) -> range:
        return range(len(self._board.places))


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # the one guard: whatever went wrong, the next second is another chance
            log.exception("reconcile_failed")
        await asyncio.sleep(_EVERY_S)
