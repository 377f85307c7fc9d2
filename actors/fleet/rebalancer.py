"""Moves cameras between running shards: on request, away from a draining shard, and to shards with more capacity."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from actors.errors import CameraRecovering, InvalidShard, ServiceError
from actors.fleet.reconciler import Reconciler
from actors.fleet.records import CameraRecord
from actors.fleet.state import FleetState
from cache_store.errors import StoreError
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraError, CameraState
from pipeline.network import urls
from pipeline.network.urls import FileUrl

log = structlog.get_logger(__name__)

_POLL_EVERY_S = 0.05
_STANDBY_TIMEOUT_S = 6.0  # for the standby's first frame, and for the present owner to reach that frame
# busy_share is an average over some time, so after a move it says nothing for a while.
_MIN_LOAD_DIFFERENCE = 0.3
_LOAD_SETTLE_S = 60.0


@dataclass(frozen=True, slots=True)
class _Move:
    record: CameraRecord
    target: int


class Rebalancer:
    """Moves cameras with all tiers of their memories. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, reconciler: Reconciler) -> None:
        self._state = state
        self._reconciler = reconciler
        self._load_settled_s = 0.0
        self._balanced_shards: tuple[str | None, ...] = ()  # the incarnations when counts were last equal

    async def move(self, record: CameraRecord, target: int) -> None:
        """Moves a camera. Questions wait meanwhile, and both shards read its stream for a moment.

        Raises TooManyCameras, InvalidShard, StoreError, ShardUnavailable, CameraRecovering; then the camera stays on
        its shard.
        """
        name = record.spec.name
        async with record.lock:
            source = record.shard_index
            if source == target:
                return
            await self._open_standby(record, target)
            with record.moving():
                began_s = asyncio.get_running_loop().time()
                try:
                    successor = self._state.shards[target].incarnation
                    await self._state.shards[source].shard.remove_camera(record.id, successor=successor)
                    self._state.reassign(record, target)
                    await self._reconciler.assign(record)
                except UnknownCamera:
                    raise CameraRecovering(f"camera {name!r}: {record.unavailable_reason}") from None
                except (CameraError, StoreError, ServiceError):
                    # The whole memory is saved, so the next reconciliation restores the camera on its shard.
                    self._state.reassign(record, source)
                    raise
            paused_s = round(asyncio.get_running_loop().time() - began_s, 3)
        log.info("camera_moved", camera=name, from_shard=source, to_shard=target, paused_s=paused_s)

    async def drain(self, index: int) -> None:
        """Moves every camera of a shard to shards with free slots. Logs the cameras that find none and stay."""
        for record in self._state.cameras_on(index):
            targets = self._state.shards_with_capacity(exclude=index)
            try:
                if not targets:
                    raise InvalidShard("no other shard that takes cameras has a free slot")
                await self.move(record, targets[0])
            except (CameraError, StoreError, ServiceError) as error:
                log.warning("camera_not_moved", camera=record.spec.name, from_shard=index, reason=str(error))

    async def rebalance(self) -> None:
        """Moves one camera to a shard with more capacity, if no camera is recovering and the shards become more equal.

        Counts are made equal only once after shards joined or left, so that later moves by operators are not undone;
        after that, load decides.
        """
        if any(record.status.state is CameraState.RECOVERING for record in self._state.cameras.values()):
            return
        shards = tuple(record.incarnation for record in self._state.shards if record.is_accepting)
        move = self._move_by_load() if shards == self._balanced_shards else self._move_by_count()
        if move is None:
            self._balanced_shards = shards
            return
        try:
            await self.move(move.record, move.target)
        except (CameraError, StoreError, ServiceError) as error:
            log.warning("camera_not_moved", camera=move.record.spec.name, to_shard=move.target, reason=str(error))

    def _move_by_count(self) -> _Move | None:
        counts = self._active_counts()
        fullest = max(counts, key=lambda index: counts[index], default=0)
        emptiest = min(self._with_free_slots(counts), key=lambda index: counts[index], default=None)
        if emptiest is None or counts[fullest] - counts[emptiest] < 2:
            return None
        return _Move(self._least_recently_asked(fullest), emptiest)

    def _move_by_load(self) -> _Move | None:
        now_s = asyncio.get_running_loop().time()
        counts, shards = self._active_counts(), self._state.shards
        busiest = max(counts, key=lambda index: shards[index].busy_share, default=0)
        idlest = min(self._with_free_slots(counts), key=lambda index: shards[index].busy_share, default=None)
        if idlest is None or now_s < self._load_settled_s or counts.get(busiest, 0) < 2:
            return None
        if shards[busiest].busy_share - shards[idlest].busy_share < _MIN_LOAD_DIFFERENCE:
            return None
        self._load_settled_s = now_s + _LOAD_SETTLE_S
        return _Move(self._least_recently_asked(busiest), idlest)

    def _active_counts(self) -> dict[int, int]:
        """The number of cameras on each shard that accepts some, without spares."""
        counts = self._state.camera_counts()
        return {index: counts[index] for index in self._state.active_shards()}

    def _with_free_slots(self, counts: dict[int, int]) -> Sequence[int]:
        return [index for index in counts if counts[index] < self._state.shards[index].slots]

    def _least_recently_asked(self, index: int) -> CameraRecord:
        return min(self._state.cameras_on(index), key=lambda record: record.last_question_s)

    async def _open_standby(self, record: CameraRecord, target: int) -> None:
        """Lets the target open the stream as a standby, and waits until the present owner reaches its first frame.

        After a timeout the frames between the two are lost, and the memory's gaps say so. A recording needs no standby.
        Raises TooManyCameras, InvalidShard, ShardUnavailable.
        """
        if isinstance(urls.parse(record.spec.url), FileUrl):
            return
        source_shard, target_shard = self._state.shard_of(record).shard, self._state.shards[target].shard
        await target_shard.add_camera(replace(record.assignment, is_standby=True))

        async def standby_since_s() -> float | None:
            return (await target_shard.status()).standby.get(record.id)

        async def newest_s() -> float | None:
            statuses = [camera for camera in (await source_shard.status()).cameras if camera.id == record.id]
            return statuses[0].memory.newest_s if statuses else None

        since_s = await _poll(standby_since_s)
        if since_s is not None:
            await _poll(newest_s, at_least=since_s)


async def _poll(read: Callable[[], Awaitable[float | None]], at_least: float = 0.0) -> float | None:
    """The first value that is at least so large; None after a timeout."""
    deadline_s = asyncio.get_running_loop().time() + _STANDBY_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline_s:
        value = await read()
        if value is not None and value >= at_least:
            return value
        await asyncio.sleep(_POLL_EVERY_S)
    return None
