"""Which camera lives on which shard, and on which other when that one is gone. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import structlog

from actors import placement, shard, succession
from actors.errors import CameraRecovering, OwnershipUnproven, ServiceError, ShardUnavailable
from cache_store import checkpoint, leases
from pipeline import answers, cameras, urls

log = structlog.get_logger(__name__)

_RECONCILE_EVERY_S = 1.0
_LOOK_EVERY_S = 0.1


class Fleet:
    """All shards as one. One event loop owns it."""

    def __init__(
        self,
        shards: Sequence[shard.Shard],
        owners: succession.Succession,
        *,
        open_timeout_s: float = 12.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._places = [placement.Place(held) for held in shards]
        self._placed: dict[str, placement.Placed] = {}
        self._owners = owners
        self._open_timeout_s = open_timeout_s
        self._clock = clock

    @property
    def is_up(self) -> bool:
        """Whether at least one shard answers."""
        return any(place.is_up for place in self._places)

    def started_s(self, name: str) -> float:
        """When the camera was added, in Unix seconds: second 0 of a file. Raises UnknownCamera."""
        return self._find(name).assignment.started_s

    def expect(self, spec: cameras.CameraSpec) -> None:
        """Watches a camera from the next reconciliation on, and keeps trying if it cannot be reached."""
        self._place(spec)

    async def add_camera(self, spec: cameras.CameraSpec) -> placement.PlacedCamera:
        """Watches a camera and waits for its first frame; nothing happens if it is watched already.

        Raises CameraExists, TooManyCameras, InvalidCamera, SourceInvalid, SourceUnreachable, StoreUnavailable and
        ShardUnavailable; then the camera is not watched.
        """
        held = self._placed.get(spec.name)
        if held is not None and held.spec == spec:
            return await self.get_camera(spec.name)
        if held is not None:
            raise cameras.CameraExists(f"camera {spec.name!r} exists, with another URL or pace")
        urls.parse(spec.url)
        placed = self._place(spec)
        place = self._places[placed.shard_index]
        try:
            async with place.changing:
                await self._hand_over(placed)
        except leases.OwnedByAnother as error:
            # It is known from now on, and brought to its shard as soon as that is safe.
            placed.recover(str(error))
            return placed.shown()
        except (cameras.CameraError, checkpoint.StoreError, ServiceError):
            self._placed.pop(spec.name, None)
            raise
        await self._await_first_frame(placed)
        return placed.shown()

    async def remove_camera(self, name: str) -> None:
        """Stops a camera and deletes its memory and checkpoints. Raises UnknownCamera, ShardUnavailable, StoreError."""
        await self._remove(self._find(name), is_forgotten=True)

    async def get_camera(self, name: str) -> placement.PlacedCamera:
        """How a camera is doing now. Raises UnknownCamera."""
        placed = self._find(name)
        await self._look(placed.shard_index)
        return placed.shown()

    async def list_cameras(self) -> list[placement.PlacedCamera]:
        """How all cameras are doing now, by name."""
        await asyncio.gather(*(self._look(index) for index in range(len(self._places))))
        by_name = sorted(self._placed.values(), key=lambda placed: placed.spec.name)
        return [placed.shown() for placed in by_name]

    async def shard_status(self, camera: str) -> shard.ShardStatus:
        """The shard that a camera lives on. Raises UnknownCamera, ShardUnavailable."""
        return await self._places[self._find(camera).shard_index].shard.status()

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[answers.AnswerEvent, None]:
        """The events of one answer, Done last. Raises QuestionError, ShardUnavailable, CameraRecovering."""
        placed = self._find(camera)
        index, has_spoken = placed.shard_index, False
        try:
            async with aclosing(self._answer(placed, question, max_answer_tokens)) as events:
                async for event in events:
                    has_spoken = True
                    yield event
            return
        except (CameraRecovering, ShardUnavailable, OwnershipUnproven):
            if has_spoken or placed.shard_index == index:
                raise
        # It moved while the question was on its way, and nothing has been said yet.
        async with aclosing(self._answer(placed, question, max_answer_tokens)) as events:
            async for event in events:
                yield event

    async def _answer(
        self, placed: placement.Placed, question: str, max_answer_tokens: int | None
    ) -> AsyncGenerator[answers.AnswerEvent, None]:
        """The events of one answer of the shard that the camera is on now; Started comes with the first word."""
        camera, place = placed.spec.name, self._places[placed.shard_index]
        if not place.is_up:
            raise ShardUnavailable(f"camera {camera!r}: {placed.why_away}")
        started: answers.Started | None = None
        try:
            async with aclosing(place.shard.ask(camera, question, max_answer_tokens=max_answer_tokens)) as events:
                async for event in events:
                    if isinstance(event, answers.Started):
                        placed.hear(event.epoch)
                        started = event
                        continue
                    if started is not None:
                        yield started
                        started = None
                    yield event
        except answers.UnknownCamera:
            self._find(camera)
            raise CameraRecovering(f"camera {camera!r}: {placed.why_away}") from None

    async def run(self) -> None:
        """Brings every camera to its shard and back to it, for ever; each shard at its own pace, as one may hang."""
        indices = range(len(self._places))
        work: list[Callable[[], Awaitable[None]]] = [partial(self._reconcile, index) for index in indices]
        await asyncio.gather(*(_again_and_again(one) for one in (self._watch_leases, *work)))

    async def reconcile(self) -> None:
        """Looks at every shard once and gives it, or in its place another, what it lacks."""
        await self._watch_leases()
        await asyncio.gather(*(self._reconcile(index) for index in range(len(self._places))))

    async def close(self) -> None:
        """Closes every shard, all at once."""
        results = await asyncio.gather(*(place.shard.close() for place in self._places), return_exceptions=True)
        for index, result in enumerate(results):
            if isinstance(result, BaseException):
                log.warning("shard_not_closed", shard=index, reason=str(result))

    def _find(self, name: str) -> placement.Placed:
        placed = self._placed.get(name)
        if placed is None:
            known = ", ".join(sorted(self._placed)) or "none"
            raise answers.UnknownCamera(f"camera {name[:80]!r}: not watched here (watched: {known})")
        return placed

    def _place(self, spec: cameras.CameraSpec) -> placement.Placed:
        status = cameras.CameraStatus(name=spec.name, url=urls.redacted(spec.url), state=cameras.CameraState.CONNECTING)
        assignment = shard.Assignment(spec=spec, started_s=self._clock())
        placed = placement.Placed(assignment, self._roomiest(), status)
        self._placed[spec.name] = placed
        return placed

    def _roomiest(self) -> int:
        """The shard with the fewest cameras, one that answers before one that does not."""
        held = [placed.shard_index for placed in self._placed.values()]
        indices = range(len(self._places))
        return min(indices, key=lambda index: (not self._places[index].is_up, held.count(index)))

    def _on(self, index: int) -> list[placement.Placed]:
        return [placed for placed in self._placed.values() if placed.shard_index == index]

    async def _look(self, index: int) -> list[placement.Placed]:
        """Notes how a shard's cameras are doing; returns those that it lacks."""
        place = self._places[index]
        try:
            status = await place.shard.status()
        except ShardUnavailable as error:
            if place.is_up:
                log.warning("shard_down", shard=index, reason=str(error))
            place.is_up = False
            for placed in self._on(index):
                placed.recover(f"shard {index} is restarting")
            return []
        if not place.is_up:
            log.info("shard_up", shard=index, pid=status.pid)
        if place.incarnation != status.incarnation:
            place.incarnation, place.gone = status.incarnation, None
        place.is_up = True
        there = {camera.name: camera for camera in status.cameras}
        self._adopt(index, status.cameras)
        missing = []
        for placed in self._on(index):
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
            placed = self._placed.get(status.name)
            if placed is not None and placed.shard_index != index and status.epoch > placed.newest_epoch:
                log.info("camera_found", camera=status.name, expected_on=placed.shard_index, shard=index)
                placed.shard_index = index

    async def _watch_leases(self) -> None:
        """Notes which shards' leases have stood still; a store that is away proves nothing."""
        for place in self._places:
            if place.incarnation is not None:
                try:
                    place.gone = await self._owners.gone(place.incarnation)
                except checkpoint.StoreUnavailable:
                    place.gone = None

    async def _reconcile(self, index: int) -> None:
        place = self._places[index]
        for placed in await self._look(index):
            async with place.changing:
                if self._placed.get(placed.spec.name) is placed and placed.shard_index == index:
                    await self._bring(placed)
        if not place.is_up and place.gone is not None:
            await self._evacuate(index)

    async def _evacuate(self, index: int) -> None:
        """Finds another shard for every camera of one that can be followed, as far as there is room."""
        for placed in self._on(index):
            for other in self._others(index):
                async with self._places[other].changing:
                    placed.shard_index = other
                    try:
                        await self._hand_over(placed)
                    except cameras.TooManyCameras:
                        placed.shard_index = index
                        continue
                    except (cameras.CameraError, checkpoint.StoreError, ServiceError) as error:
                        placed.shard_index = index
                        placed.recover(str(error))
                    else:
                        log.info("camera_moved", camera=placed.spec.name, from_shard=index, to_shard=other)
                        await self._look(other)
                    break
            else:
                placed.recover(f"shard {index} is gone, and no other has room")

    def _others(self, index: int) -> list[int]:
        """The other shards that are up, the emptiest first."""
        up = (other for other, place in enumerate(self._places) if place.is_up and other != index)
        return sorted(up, key=lambda other: len(self._on(other)))

    async def _bring(self, placed: placement.Placed) -> None:
        """Gives its shard a camera that it lacks; a failure is shown in the camera's status and tried again."""
        try:
            await self._hand_over(placed)
        except (checkpoint.StoreError, ServiceError) as error:
            placed.recover(str(error))
        except cameras.CameraError as error:
            placed.status = replace(placed.status, state=cameras.CameraState.FAILED, detail=str(error))

    async def _hand_over(self, placed: placement.Placed) -> None:
        """Gives its shard the camera; where another owned it, only once that one can be followed."""
        held = self._places[placed.shard_index].shard
        # Above every epoch that was seen anywhere: a store that forgot, with a clock set back, would grant old ones.
        newest = max(other.newest_epoch for other in self._placed.values())
        assignment = replace(placed.assignment, floor=newest)
        try:
            await held.add_camera(assignment)
        except leases.OwnedByAnother as error:
            gone = await self._owners.gone(error.incarnation)
            if gone is None:
                raise
            if gone.incarnation != leases.NOBODY:
                log.info("camera_taken_over", camera=placed.spec.name, from_shard=gone.incarnation, died=gone.is_dead)
            await held.add_camera(replace(assignment, gone=gone))

    async def _await_first_frame(self, placed: placement.Placed) -> None:
        deadline = time.monotonic() + self._open_timeout_s
        while placement.is_undecided(placed.status) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._look(placed.shard_index)
        refusal = placement.refusal(placed.status, self._open_timeout_s)
        if refusal is not None:
            await self._remove(placed, is_forgotten=False)
            raise refusal

    async def _remove(self, placed: placement.Placed, *, is_forgotten: bool) -> None:
        place = self._places[placed.shard_index]
        async with place.changing:
            try:
                await place.shard.remove_camera(placed.spec.name, is_forgotten=is_forgotten)
            except answers.UnknownCamera:
                log.info("camera_was_gone", camera=placed.spec.name)
            self._placed.pop(placed.spec.name, None)


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # the one guard: whatever went wrong, the next second is another chance
            log.exception("reconcile_failed")
        await asyncio.sleep(_RECONCILE_EVERY_S)
