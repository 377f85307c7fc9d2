"""Which camera lives on which shard, and that it stays so when a shard comes back empty. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from actors import placement, shard, succession
from actors.errors import CameraRecovering, ServiceError, ShardUnavailable
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
        place = self._places[placed.shard_index]
        if not place.is_up:
            raise ShardUnavailable(f"camera {camera!r}: {placed.why_away}")
        try:
            async with aclosing(place.shard.ask(camera, question, max_answer_tokens=max_answer_tokens)) as events:
                async for event in events:
                    yield event
        except answers.UnknownCamera:
            self._find(camera)
            raise CameraRecovering(f"camera {camera!r}: {placed.why_away}") from None

    async def run(self) -> None:
        """Brings every camera to its shard and back to it, for ever."""
        while True:
            try:
                await self.reconcile()
            except Exception:  # the one guard: whatever went wrong, the next second is another chance
                log.exception("reconcile_failed")
            await asyncio.sleep(_RECONCILE_EVERY_S)

    async def reconcile(self) -> None:
        """Looks at every shard once and gives back what it lacks."""
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
        place.is_up = True
        there = {camera.name: camera for camera in status.cameras}
        missing = []
        for placed in self._on(index):
            if placed.spec.name in there:
                placed.status = there[placed.spec.name]
            else:
                placed.miss()
                missing.append(placed)
        return missing

    async def _reconcile(self, index: int) -> None:
        for placed in await self._look(index):
            async with self._places[index].changing:
                if self._placed.get(placed.spec.name) is placed:
                    await self._bring(placed)

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
        try:
            await held.add_camera(placed.assignment)
        except leases.OwnedByAnother as error:
            gone = await self._owners.gone(error.incarnation) if error.incarnation else None
            if gone is None:
                raise
            log.info(
                "camera_taken_over", camera=placed.spec.name, earlier_owner=gone.incarnation, has_died=gone.is_dead
            )
            await held.add_camera(replace(placed.assignment, gone=gone))

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
