"""Moves a camera with all tiers of its memory from one running shard to another."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from actors.errors import CameraRecovering, InvalidShard, ServiceError
from actors.fleet import clock_readings
from actors.fleet.camera_presence import CameraPresence
from actors.fleet.capacity import Capacity
from actors.fleet.placement import Placement
from actors.fleet.records import CameraRecord
from actors.fleet.snapshot import can_read
from actors.fleet.state import FleetState
from actors.shard.shard_counts import Histogram
from cache_store.errors import StoreError
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraError, CameraState
from pipeline.network import urls
from pipeline.network.urls import FileUrl

log = structlog.get_logger(__name__)

_POLL_EVERY_S = 0.1
_PAUSE_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STANDBY_TIMEOUT_S = 4.0  # for the standby's first frame, and for the present owner to reach that frame
_END_STANDBY_TIMEOUT_S = 2.0  # whoever cancelled the move waits for it


@dataclass(frozen=True, slots=True)
class _Standby:
    """The stream of a camera that the next owner has opened. clock_ahead_s: see Assignment."""

    clock_ahead_s: float | None


class Mover:
    """Moves cameras. One event loop owns it, with the state.

    results: how many moves there were so far; pauses_s: how long questions waited for each that succeeded.
    """

    def __init__(self, state: FleetState, placement: Placement, presence: CameraPresence) -> None:
        self._state = state
        self._presence = presence
        self._placement = placement
        self.results = Counter({"moved": 0, "failed": 0})
        self.pauses_s = Histogram(_PAUSE_BOUNDS_S)

    def target_of(self, record: CameraRecord, index: int | None) -> int:
        """The shard to move the camera to: this, or the emptiest other one.

        Raises InvalidShard if none takes it, and if its model would not read the camera's memory.
        """
        if index is not None:
            if not self._state.shards[index].is_accepting:
                raise InvalidShard(f"shard {index}: takes no cameras now, it is being drained or restarted")
            return self._readable(record, index)
        capacity = Capacity(self._state.snapshot(0.0))
        other = capacity.best(exclude=[record.shard_index], fingerprint=record.fingerprint)
        if other is None:
            raise InvalidShard(f"camera {record.spec.name!r}: no other shard that takes cameras has a free slot now")
        return self._readable(record, other)

    async def move(self, record: CameraRecord, target: int) -> None:
        """Moves a camera. Questions wait meanwhile, and both shards read its stream for a moment.

        Raises TooManyCameras, InvalidShard, StoreError, ShardUnavailable, CameraRecovering; then the camera stays on
        its shard. Raises UnknownCamera if it is removed meanwhile, CameraChanged if another one has its name then.
        """
        async with record.lock:
            source = record.shard_index
            if source == target or self._state.cameras_by_id.get(record.id) is not record:
                return
            with self._state.shards[source].acting(), self._state.shards[target].acting():
                try:
                    began_s = await self._move(record, target)
                except BaseException:
                    self.results["failed"] += 1
                    raise
        now_s = asyncio.get_running_loop().time()
        self._state.mark_moved(now_s)
        self.results["moved"] += 1
        self.pauses_s.observe(now_s - began_s)
        paused_s = round(now_s - began_s, 3)
        log.info("camera_moved", **record.log_fields, from_shard=source, to_shard=target, paused_s=paused_s)

    def _readable(self, record: CameraRecord, target: int) -> int:
        fingerprints = self._state.shards[target].fingerprints
        if not can_read(fingerprints, record.fingerprint):
            raise InvalidShard(
                f"camera {record.spec.name!r}: shard {target} runs another model ({fingerprints[0][:12]}) and cannot "
                f"read its memory (of {record.fingerprint[:12]}), which only a drain of shard {record.shard_index} "
                "leaves behind"
            )
        return target

    async def _move(self, record: CameraRecord, target: int) -> float:
        """-> when the pause for questions began, by the event loop's clock"""
        try:
            standby = await self._open_standby(record, target)
        except BaseException:  # a caller that gives up, too, must leave no slot taken
            await self._end_standby(record, target)
            raise
        began_s = asyncio.get_running_loop().time()
        try:
            with record.moving():
                # Reserved for the target only once the target has kept a slot for it.
                successor = self._state.shards[target].incarnation if standby else None
                await self._hand_over(record, target, successor, standby.clock_ahead_s if standby else None)
        except (CameraError, StoreError, ServiceError, UnknownCamera):
            # Not if the caller gives up now: the owner is on its way, and the next plan goes on with the standby.
            await self._end_standby(record, target)
            raise
        return began_s

    async def _end_standby(self, record: CameraRecord, target: int) -> None:
        """Gives the slot back that the target keeps for the camera; else a standby keeps it for half a minute.

        A target that owns the camera by now, because its reply was lost or by another server, keeps it.
        """
        shard = self._state.shards[target]
        with contextlib.suppress(UnknownCamera, StoreError, ServiceError, TimeoutError):
            async with asyncio.timeout(_END_STANDBY_TIMEOUT_S):
                if record.id in (await shard.perform(shard.shard.status())).standby:
                    await shard.perform(shard.shard.release_camera(record.id))

    async def _hand_over(
        self, record: CameraRecord, target: int, successor: str | None, clock_ahead_s: float | None
    ) -> None:
        source = record.shard_index
        shard = self._state.shards[source]
        try:
            await shard.perform(shard.shard.release_camera(record.id, successor=successor))
            self._state.reassign(record, target)
            await self._placement.assign(record, clock_ahead_s)
        except UnknownCamera:
            await self._presence.require(record)
            raise CameraRecovering(f"camera {record.spec.name!r}: {record.unavailable_reason}") from None
        except (CameraError, StoreError, ServiceError):
            # The whole memory is saved, so the next plan restores the camera on its shard.
            self._state.reassign(record, source)
            raise

    async def _open_standby(self, record: CameraRecord, target: int) -> _Standby | None:
        """Lets the target open the stream as a standby, and waits until the present owner reaches its first frame.

        After a timeout the frames between the two are lost, and the memory's gaps say so. A recording, and a source
        that gives no frames, need no standby: then None. Raises TooManyCameras, InvalidShard, ShardUnavailable.
        """
        if record.status.state is not CameraState.LIVE or isinstance(urls.parse(record.spec.url), FileUrl):
            return None
        source_shard, target_shard = self._state.shard_of(record).shard, self._state.shards[target].shard
        deadline_s = asyncio.get_running_loop().time() + _STANDBY_TIMEOUT_S
        standby = target_shard.add_camera(replace(record.assignment, is_standby=True))
        await self._state.shards[target].perform(standby)

        async def standby_since_s() -> float | None:
            return (await target_shard.status()).standby.get(record.id)

        async def newest_s() -> float | None:
            statuses = [camera for camera in (await source_shard.status()).cameras if camera.id == record.id]
            return statuses[0].memory.newest_s if statuses else None

        since_s = await _poll(standby_since_s, deadline_s)
        readings = [await clock_readings.read(shard) for shard in (target_shard, source_shard)]
        ahead_s = clock_readings.least_ahead_s(*readings)
        if since_s is not None:
            await _poll(newest_s, deadline_s, at_least=since_s - (ahead_s or 0.0))
        return _Standby(ahead_s)


async def _poll(read: Callable[[], Awaitable[float | None]], deadline_s: float, at_least: float = 0.0) -> float | None:
    """The first value that is at least so large; None after the deadline."""
    while asyncio.get_running_loop().time() < deadline_s:
        value = await read()
        if value is not None and value >= at_least:
            return value
        await asyncio.sleep(_POLL_EVERY_S)
    return None
