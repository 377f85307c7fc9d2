"""All shards as one: cameras are added, moved, asked and removed here. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import structlog

from actors.errors import CameraRecovering, InvalidShard, OwnershipUnproven, ServiceError, ShardUnavailable
from actors.fleet import reconciler, state
from actors.fleet.desired_state import DesiredState
from actors.fleet.rebalancer import Rebalancer
from actors.fleet.reconciler import Reconciler
from actors.fleet.registry import CameraRegistry
from actors.fleet.state import CameraRecord, CameraView, FleetState, ShardView
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import IsLeader
from actors.shard.interface import Assignment, Shard, ShardStatus
from cache_store.checkpoint import StoreError, StoreUnavailable
from cache_store.leases import OwnedByAnother
from pipeline.answers import AnswerEvent, AnswerFailed, Started, UnknownCamera
from pipeline.cameras import CameraError, CameraExists, CameraSpec
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.sources.probe import ProbeResult

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.1
# A question waits for a camera that moves; longer than this it had better be asked again.
_LONGEST_MOVE_S = 5.0
# Another fleet may be moving it: this one hears of it when it looks, once a second.
_SEARCHES = 15


class Fleet:
    """All shards as one. One event loop owns it.

    Several may run over the same shards; the one that supervises brings cameras to them, the others follow.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        owners: FailureDetector,
        known: CameraRegistry,
        *,
        is_leader: IsLeader = lambda: True,
        spares: int = 0,
        open_timeout_s: float = 12.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = FleetState(shards, spares)
        self._reconciler = Reconciler(self._board, owners, is_leader)
        self._mover = Rebalancer(self._board, self._reconciler)
        self._wanted = DesiredState(self._board, known)
        self._is_leader = is_leader
        self._had_headroom = True
        self._open_timeout_s = open_timeout_s
        self._clock = clock

    @property
    def is_up(self) -> bool:
        """Whether at least one shard answers."""
        return any(place.is_up for place in self._board.places)

    @property
    def headroom(self) -> int:
        """How many cameras could still be added if the fullest shard were lost; negative: so many find no place."""
        return self._board.headroom

    def started_s(self, name: str) -> float:
        """When the camera was added, in Unix seconds: second 0 of a file. Raises UnknownCamera."""
        return self._board.find(name).assignment.started_s

    def add_configured_camera(self, spec: CameraSpec) -> None:
        """Watches a camera of the configuration from the next reconciliation on, and keeps trying to reach it."""
        self._board.put(Assignment(spec=spec, started_s=self._clock()), is_configured=True)

    async def remove_unconfigured(self) -> None:
        """Drops what an earlier configuration named and this one does not. Raises StoreUnavailable."""
        await self._wanted.remove_unconfigured()

    async def run(self) -> None:
        """Brings every camera to its shard and back to it, for ever."""
        await asyncio.gather(self._reconciler.run(), reconciler.run_forever(self._tend))

    async def reconcile(self) -> None:
        """Brings every camera to its shard once."""
        await self._wanted.follow()
        await self._reconciler.once()

    async def add_camera(self, spec: CameraSpec) -> CameraView:
        """Watches a camera, in every later system too, and waits for its first frame; nothing happens if it is watched.

        Raises CameraExists, TooManyCameras, InvalidCamera, SourceInvalid, SourceUnreachable, StoreUnavailable and
        ShardUnavailable; then the camera is not watched.
        """
        await self._wanted.follow()
        held = self._board.placed.get(spec.name)
        if held is not None and held.spec == spec:
            return await self.get_camera(spec.name)
        if held is not None:
            raise CameraExists(f"camera {spec.name!r} exists, with another URL, pace, masks or gate")
        urls.parse(spec.url)
        placed = self._board.put(Assignment(spec=spec, started_s=self._clock()))
        try:
            await self._wanted.publish(placed)
            async with placed.changing:
                await self._reconciler.hand_over(placed)
        except OwnedByAnother as error:
            # It is known from now on, and brought to its shard as soon as that is safe.
            placed.recover(str(error))
            return placed.shown()
        except (CameraError, StoreError, ServiceError):
            await self._wanted.drop(spec.name)
            raise
        await self._await_first_frame(placed)
        return placed.shown()

    async def test_camera(self, url: str) -> ProbeResult:
        """What a URL gives, or why it gives nothing, seen from the emptiest shard that is up.

        Raises InvalidCamera, TooManyTests, ShardUnavailable.
        """
        REDACTOR.remember(url)
        urls.parse(url)
        up = [index for index, place in enumerate(self._board.places) if place.is_up]
        if not up:
            raise ShardUnavailable("no shard is up to test a camera from")
        emptiest = min(up, key=self._board.counts().__getitem__)
        return await self._board.places[emptiest].shard.test_camera(url)

    async def remove_camera(self, name: str) -> None:
        """Stops a camera and deletes its memory and checkpoints. Raises UnknownCamera, ShardUnavailable, StoreError."""
        await self._remove(self._board.find(name), is_forgotten=True)

    async def get_camera(self, name: str) -> CameraView:
        """How a camera is doing now. Raises UnknownCamera."""
        placed = self._board.find(name)
        await self._reconciler.look(placed.shard_index)
        return placed.shown()

    async def list_cameras(self) -> list[CameraView]:
        """How all cameras are doing now, by name."""
        await self._reconciler.look_everywhere()
        by_name = sorted(self._board.placed.values(), key=lambda placed: placed.spec.name)
        return [placed.shown() for placed in by_name]

    async def list_shards(self) -> list[ShardView]:
        """How all shards are doing now."""
        await self._reconciler.look_everywhere()
        return [self._board.shown(index) for index in range(len(self._board.places))]

    async def move_camera(self, name: str, to_shard: int | None = None) -> CameraView:
        """Moves a camera with all tiers of its memory, by default to the emptiest other shard.

        Questions that come meanwhile wait. Raises UnknownCamera, InvalidShard, TooManyCameras, StoreError,
        ShardUnavailable and CameraRecovering; then it stays where it was.
        """
        placed = self._board.find(name)
        await self._mover.move(placed, self._target(placed, to_shard))
        return await self.get_camera(name)

    async def drain(self, index: int) -> ShardView:
        """Moves every camera of a shard away; it gets no new ones until its process is started anew.

        A camera that finds no room elsewhere stays, and is named in what comes back. Raises InvalidShard,
        ShardUnavailable.
        """
        self._require_shard(index)
        await self._board.places[index].shard.drain()
        await self._reconciler.look(index)
        await self._mover.empty(index)
        return self._board.shown(index)

    async def shard_status(self, camera: str) -> ShardStatus:
        """The shard that a camera lives on. Raises UnknownCamera, ShardUnavailable."""
        return await self._board.place_of(self._board.find(camera)).shard.status()

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events of one answer, Done last.

        Raises QuestionError, ShardUnavailable, CameraRecovering, OwnershipUnproven.
        """
        placed = self._board.find(camera)
        placed.asked_s = asyncio.get_running_loop().time()
        await self._settled(placed)
        index, has_spoken = placed.shard_index, False
        try:
            async with aclosing(self._answer(placed, question, max_answer_tokens)) as events:
                async for event in events:
                    has_spoken = True
                    yield event
            return
        except (CameraRecovering, ShardUnavailable, OwnershipUnproven, AnswerFailed):
            if has_spoken or not await self._has_moved(placed, index):
                raise
        # It moved while the question was on its way, and nothing has been said yet.
        async with aclosing(self._answer(placed, question, max_answer_tokens)) as events:
            async for event in events:
                yield event

    async def _tend(self) -> None:
        """Follows the registry; as the supervisor, empties shards that are drained, evens out, warns in time."""
        with contextlib.suppress(StoreUnavailable):
            await self._wanted.follow()
        if not self._is_leader():
            return
        for index, place in enumerate(self._board.places):
            if place.is_up and place.is_draining:
                await self._mover.empty(index)
        await self._mover.balance()
        if (has_headroom := self.headroom >= 0) != self._had_headroom:
            say = log.info if has_headroom else log.warning
            say("headroom_for_the_loss_of_a_shard", cameras=self.headroom)
            self._had_headroom = has_headroom

    async def _has_moved(self, placed: CameraRecord, index: int) -> bool:
        """Whether the camera is on another shard now, or turns up on one in a moment."""
        for _ in range(_SEARCHES):
            if placed.shard_index != index:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        await self._settled(placed)
        return placed.shard_index != index

    async def _answer(
        self, placed: CameraRecord, question: str, max_answer_tokens: int | None
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events of one answer of the shard that the camera is on now; Started comes with the first word."""
        camera, place = placed.spec.name, self._board.place_of(placed)
        if not place.is_up:
            raise ShardUnavailable(f"camera {camera!r}: {placed.why_away}")
        started: Started | None = None
        try:
            async with aclosing(place.shard.ask(camera, question, max_answer_tokens=max_answer_tokens)) as events:
                async for event in events:
                    if isinstance(event, Started):
                        placed.hear(event.epoch)
                        self._board.newest_epoch = max(self._board.newest_epoch, event.epoch)
                        started = event
                        continue
                    if started is not None:
                        yield started
                        started = None
                    yield event
        except UnknownCamera:
            self._board.find(camera)
            raise CameraRecovering(f"camera {camera!r}: {placed.why_away}") from None

    async def _settled(self, placed: CameraRecord) -> None:
        try:
            async with asyncio.timeout(_LONGEST_MOVE_S):
                await placed.settled.wait()
        except TimeoutError:
            raise CameraRecovering(f"camera {placed.spec.name!r}: moving to another shard") from None

    def _target(self, placed: CameraRecord, to_shard: int | None) -> int:
        if to_shard is not None:
            self._require_shard(to_shard)
            if not self._board.places[to_shard].is_open:
                raise InvalidShard(f"shard {to_shard}: takes no cameras now, it is being drained or restarted")
            return to_shard
        others = self._board.takers(but=placed.shard_index)
        if not others:
            raise InvalidShard(f"camera {placed.spec.name!r}: no other shard has room now")
        return others[0]

    def _require_shard(self, index: int) -> None:
        most = len(self._board.places) - 1
        if not 0 <= index <= most:
            raise InvalidShard(f"shard {index}: there are 0 to {most}")

    async def _await_first_frame(self, placed: CameraRecord) -> None:
        deadline = time.monotonic() + self._open_timeout_s
        while state.is_undecided(placed.status) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._reconciler.look(placed.shard_index)
        refusal = state.refusal(placed.status, self._open_timeout_s)
        if refusal is not None:
            await self._remove(placed, is_forgotten=False)
            raise refusal

    async def _remove(self, placed: CameraRecord, *, is_forgotten: bool) -> None:
        async with placed.changing:
            try:
                await self._board.place_of(placed).shard.remove_camera(placed.spec.name, is_forgotten=is_forgotten)
            except UnknownCamera:
                log.info("camera_was_gone", camera=placed.spec.name)
            await self._wanted.drop(placed.spec.name)
