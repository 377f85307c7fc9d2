"""Brings every camera to its shard and back to it, and to another one when its own is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from actors.errors import InvalidShard, ServiceError, ShardUnavailable
from actors.fleet.state import CameraRecord, FleetState, ShardRecord
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import IsLeader
from cache_store.checkpoint import StoreError, StoreUnavailable
from cache_store.leases import UNOWNED, LeaseExpiry, OwnedByAnother
from pipeline.cameras import CameraError, CameraState, CameraStatus, TooManyCameras

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
# So long nobody reaches a shard before it is told to stop: it may be alive, and would keep its cameras for ever.
_UNREACHED_S = 3.0
# And so long an owner whom no shard answers as: a fleet that has just begun may not have heard them all.
_STRANGE_S = 10.0
_RESTORES_AT_ONCE = 4  # on one shard


class Reconciler:
    """Makes what is true of the shards what the board says. One event loop owns both.

    Where another fleet supervises, it only looks.
    """

    def __init__(self, board: FleetState, owners: FailureDetector, is_leader: IsLeader) -> None:
        self._board = board
        self._owners = owners
        self._is_leader = is_leader
        # That the store has not just lost its memory, as last proven; the store checks it whenever it grants a camera.
        self._nobody: LeaseExpiry | None = None
        self._strange_since_s: dict[str, float] = {}

    async def run(self) -> None:
        """Reconciles for ever; each shard at its own pace, as one may hang, and its lease beside it."""
        indices = range(len(self._board.places))
        work = [partial(step, index) for step in (self._keep_full, self._follow) for index in indices]
        await asyncio.gather(*map(run_forever, work))

    async def once(self) -> None:
        """Looks at every shard and gives it, or in its place another, what it lacks."""
        # First at all of them: a camera that one lacks may be on another.
        await self.look_everywhere()
        for step in (self._keep_full, self._follow):
            await asyncio.gather(*(step(index) for index in range(len(self._board.places))))

    async def look_everywhere(self) -> None:
        """Notes how all cameras are doing."""
        await asyncio.gather(*(self.look(index) for index in range(len(self._board.places))))

    async def look(self, index: int) -> list[CameraRecord]:
        """Notes how a shard's cameras are doing; returns those that it lacks."""
        place = self._board.places[index]
        try:
            status = await place.shard.status()
        except ShardUnavailable as error:
            self._note_away(index, str(error))
            return []
        if not place.is_up:
            log.info("shard_up", shard=index, pid=status.pid)
        place.hear(status)
        there = {camera.name: camera for camera in status.cameras}
        self._adopt(index, status.cameras)
        missing = []
        for placed in self._board.on(index):
            if placed.spec.name in there:
                placed.note(there[placed.spec.name])
                self._board.newest_epoch = max(self._board.newest_epoch, placed.newest_epoch)
            else:
                placed.miss()
            if placed.spec.name not in there or placed.status.epoch < placed.newest_epoch:
                missing.append(placed)
        return missing

    def _note_away(self, index: int, reason: str) -> None:
        place = self._board.places[index]
        if place.is_up:
            log.warning("shard_down", shard=index, reason=reason)
            place.is_up, place.away_since_s = False, asyncio.get_running_loop().time()
        for placed in self._board.on(index):
            placed.recover(f"shard {index} is restarting")

    def _adopt(self, index: int, found: Sequence[CameraStatus]) -> None:
        """Follows a camera to the shard that owns it by now, e.g. after a hand-over of which no answer came."""
        for status in found:
            placed = self._board.placed.get(status.name)
            if placed is None or placed.shard_index == index:
                continue
            if status.epoch and status.epoch >= placed.newest_epoch:
                log.info("camera_found", camera=status.name, expected_on=placed.shard_index, shard=index)
                self._board.reassign(placed, index)

    async def _keep_full(self, index: int) -> None:
        """Gives a shard that answers what it lacks."""
        missing = await self.look(index)
        if self._is_leader() and self._board.places[index].is_up:
            await self._bring(missing, index, is_gone=False)

    async def _follow(self, index: int) -> None:
        """Finds other shards for the cameras of one that does not answer and may be followed."""
        if not self._is_leader():
            return
        place = self._board.places[index]
        await self._watch_lease(place)
        if not place.is_up and place.gone is not None:
            await self._bring(self._board.on(index), index, is_gone=True)

    async def _watch_lease(self, place: ShardRecord) -> None:
        """Notes whether the shard's lease stood still; a store that is away proves nothing."""
        if place.incarnation is None:
            return
        try:
            place.gone = await self._owners.expiry(place.incarnation)
            now_s = asyncio.get_running_loop().time()
            if place.gone is None and place.away_since_s is not None and now_s - place.away_since_s >= _UNREACHED_S:
                await self._owners.retire(place.incarnation)
        except StoreUnavailable:
            place.gone = None

    async def _bring(self, lacking: Iterable[CameraRecord], index: int, *, is_gone: bool) -> None:
        """Gives each camera to the shard, or to another if it is gone or full; those that were asked last go first."""
        turns = asyncio.Semaphore(_RESTORES_AT_ONCE)

        async def bring(placed: CameraRecord) -> None:
            async with turns, placed.changing:
                if self._board.placed.get(placed.spec.name) is placed and placed.shard_index == index:
                    await self._bring_one(placed, is_gone=is_gone)

        await asyncio.gather(*(bring(placed) for placed in sorted(lacking, key=lambda one: -one.asked_s)))

    async def _bring_one(self, placed: CameraRecord, *, is_gone: bool) -> None:
        """A failure is shown in the camera's status and tried again."""
        home = placed.shard_index
        # Who else has room is counted over all cameras: not for each that its own shard takes.
        candidates, tried = self._board.takers(but=home) if is_gone else [home], set()
        try:
            while candidates:
                candidate = candidates.pop(0)
                tried.add(candidate)
                self._board.reassign(placed, candidate)
                try:
                    await self.hand_over(placed)
                except (TooManyCameras, InvalidShard):
                    if candidate == home:
                        candidates = self._board.takers(but=home)
                    continue
                except OwnedByAnother as error:
                    owner = self._board.index_of(error.incarnation)
                    if owner is None or owner in tried:
                        raise
                    # As after a move that broke off: it was left to that shard, which has not heard of it.
                    candidates = [owner]
                    continue
                if candidate != home:
                    log.info("camera_moved", camera=placed.spec.name, from_shard=home, to_shard=candidate)
                return
            self._board.reassign(placed, home)
            placed.recover(f"shard {home} is gone, and no other has room" if is_gone else "no shard has room")
        except (StoreError, ServiceError) as error:
            self._board.reassign(placed, home)
            placed.recover(str(error))
        except CameraError as error:
            placed.status = replace(placed.status, state=CameraState.FAILED, detail=str(error))

    async def hand_over(self, placed: CameraRecord) -> None:
        """Gives its shard the camera; where another owned it, only once that one can be followed.

        Raises CameraError, StoreError, OwnedByAnother among them, and ServiceError.
        """
        held = self._board.places[placed.shard_index].shard
        # Above every epoch that was seen anywhere: a store that forgot, with a clock set back, would grant old ones.
        assignment = replace(placed.assignment, min_epoch=self._board.newest_epoch, expiry=self._nobody)
        try:
            await held.add_camera(assignment)
        except OwnedByAnother as error:
            gone = await self._owners.expiry(error.incarnation)
            if gone is None:
                await self._retire_stranger(error.incarnation)
                raise
            self._strange_since_s.pop(error.incarnation, None)
            if gone.incarnation == UNOWNED:
                self._nobody = gone
            else:
                log.info("camera_taken_over", camera=placed.spec.name, from_shard=gone.incarnation, died=gone.is_dead)
            await held.add_camera(replace(assignment, expiry=gone))

    async def _retire_stranger(self, incarnation: str) -> None:
        """Tells an owner to stop whom nobody reaches: a process that lives on although another one took its place."""
        if incarnation == UNOWNED or not self._is_leader():
            return
        if self._board.index_of(incarnation) is not None:
            self._strange_since_s.pop(incarnation, None)
            return
        now_s = asyncio.get_running_loop().time()
        since_s = self._strange_since_s.setdefault(incarnation, now_s)
        if self._board.has_replaced(incarnation) or now_s - since_s >= _STRANGE_S:
            await self._owners.retire(incarnation)


async def run_forever(work: Callable[[], Awaitable[None]]) -> None:
    """Does the work once a second, for ever."""
    while True:
        try:
            await work()
        except Exception:  # the one guard: whatever went wrong, the next second is another chance
            log.exception("reconcile_failed")
        await asyncio.sleep(_EVERY_S)
