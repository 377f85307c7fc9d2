"""Whether there are slots: for a new camera, and for the cameras of the fullest shard if it were lost."""

from __future__ import annotations

import structlog

from actors.fleet import scaling
from actors.fleet.records import CameraRecord
from actors.fleet.state import FleetState
from pipeline.cameras import TooManyCameras

log = structlog.get_logger(__name__)


class Headroom:
    """Reads the state. One event loop owns it, with the state."""

    def __init__(self, state: FleetState) -> None:
        self._state = state
        self._was_enough = True

    @property
    def cameras(self) -> int:
        """How many could still be added if the fullest shard failed; negative: so many would find no slot."""
        counts, shards = self._state.camera_counts(), self._state.shards
        free = [record.slots - counts[index] if record.is_accepting else 0 for index, record in enumerate(shards)]
        return min(sum(free) - free[index] - counts[index] for index in range(len(shards)))

    def log(self) -> None:
        """Warns when the headroom is used up, and says when it is back."""
        # With one shard there is nothing to fail over to, however many cameras it has.
        is_enough = self.cameras >= 0 or self._state.size.numbers.started == 1
        if is_enough and not self._was_enough:
            log.info("failover_headroom_restored", cameras=self.cameras)
        elif self._was_enough and not is_enough:
            log.warning("failover_headroom_exhausted", cameras=self.cameras)
        self._was_enough = is_enough


def waits_for_slot(state: FleetState, record: CameraRecord) -> bool:
    """Whether a new camera has no slot on its shard, but a shard with a slot for it starts, or will."""
    if _has_slot(state, record):
        return False
    numbers = state.size.numbers
    grows = numbers.target < numbers.max or any(shard.is_starting for shard in state.shards)
    return grows and scaling.can_hold(state.snapshot(0.0), len(state.cameras), numbers.max)


def require_slot(state: FleetState, record: CameraRecord) -> None:
    """Raises TooManyCameras if the shard of a new camera takes cameras and is full: then every shard is."""
    if state.shard_of(record).is_accepting and not _has_slot(state, record):
        raise TooManyCameras(
            f"camera {record.spec.name!r}: all slots are taken, and there are as many shards as shards.max allows "
            f"({state.size.numbers.max}, {state.size.slots} slots each)"
        )


def is_slot_kept(state: FleetState, record: CameraRecord) -> bool:
    """Whether the shard of a camera that every shard refused has a slot, which another camera keeps while it moves."""
    return state.shard_of(record).slots > 0 and _has_slot(state, record)


def _has_slot(state: FleetState, record: CameraRecord) -> bool:
    """Whether the shard of a new camera has a slot for it; it is on the best one."""
    shard, count = state.shard_of(record), state.camera_counts()[record.shard_index]
    return shard.is_accepting and not (shard.slots and count > shard.slots)
