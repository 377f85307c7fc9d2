"""The state of a fleet in numbers, for monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.fleet.headroom import Headroom
from actors.fleet.mover import Mover
from actors.fleet.shard_record import ShardRecord
from actors.fleet.state import FleetState
from actors.ownership.leader_election import IsLeader
from actors.shard.shard_counts import HistogramCounts, ShardCounts
from pipeline.cameras import CameraState
from pipeline.picture_note import PictureNote


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFigures:
    """newest_s: time of the newest frame in the memory; checkpointed_s: of its newest checkpoint, None before that.

    is_on_shard: whether a shard watches the camera, so that its memory can be saved.
    """

    name: str
    shard: int
    is_on_shard: bool
    state: CameraState
    note: PictureNote | None
    started_s: float
    newest_s: float | None
    checkpointed_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFigures:
    """state: one of SHARD_STATES. slots: 0 while it takes no cameras. counts: as last reported."""

    index: int
    state: str
    slots: int
    num_cameras: int
    busy_share: float
    counts: ShardCounts

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        return self.state in ("up", "draining")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFigures:
    """is_ready: whether questions can be routed. moves: those of this fleet, by result.

    is_reporter: whether this router reports the fleet: it leads, or led last and the store, which would know of another
    leader, is away. A fleet does not know that; see Startup.
    move_pauses_s: how long questions waited for each.
    """

    is_ready: bool = False
    is_leader: bool = False
    is_reporter: bool = False
    headroom: int = 0
    shards: tuple[ShardFigures, ...] = ()
    cameras: tuple[CameraFigures, ...] = ()
    moves: Mapping[str, int] = field(default_factory=dict)
    move_pauses_s: HistogramCounts = field(default_factory=HistogramCounts)


_ON_NO_SHARD = (CameraState.RECOVERING, CameraState.WAITING)
SHARD_STATES = ("starting", "up", "draining", "down")


def of_fleet(state: FleetState, mover: Mover, headroom: Headroom, is_leader: IsLeader) -> FleetFigures:
    """The figures of now."""
    counts = state.camera_counts()
    return FleetFigures(
        is_ready=is_ready(state),
        is_leader=is_leader(),
        headroom=headroom.cameras,
        shards=tuple(
            _shard(index, record, counts[index]) for index, record in enumerate(state.shards) if not record.is_ended
        ),
        cameras=tuple(
            CameraFigures(
                name=record.spec.name,
                shard=record.shard_index,
                is_on_shard=record.status.state not in _ON_NO_SHARD and not record.is_refused,
                state=record.status.state,
                note=record.status.note,
                started_s=record.assignment.started_s,
                newest_s=record.status.memory.newest_s,
                checkpointed_s=record.status.memory.checkpointed_s,
            )
            for record in state.cameras.values()
        ),
        moves=dict(mover.results),
        move_pauses_s=mover.pauses_s.counts(),
    )


def is_ready(state: FleetState) -> bool:
    """Whether questions can be routed: a shard was seen to answer, or there is no camera to ask."""
    is_answering = any(record.is_up and record.incarnation is not None for record in state.shards)
    return is_answering or (state.synced_s > float("-inf") and not state.cameras)


def _shard(index: int, record: ShardRecord, num_cameras: int) -> ShardFigures:
    return ShardFigures(
        index=index,
        state=_state(record),
        slots=record.slots if record.is_accepting else 0,
        num_cameras=num_cameras,
        busy_share=record.busy_share,
        counts=record.counts,
    )


def _state(record: ShardRecord) -> str:
    if not record.is_up:
        return "starting" if record.is_starting else "down"
    return "draining" if record.is_draining or record.is_retiring else "up"
