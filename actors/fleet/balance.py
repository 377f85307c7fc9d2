"""Which camera shall move so that the shards become more equal: by count after shards came or went, then by load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actors.fleet.actions import Action, Move, NoteBalance
from actors.fleet.capacity import Capacity
from actors.fleet.snapshot import CameraSnapshot, FleetSnapshot, ShardSnapshot

# busy_share is an average over some time, so after a move it says nothing for a while.
_MIN_LOAD_DIFFERENCE = 0.3


def plan_balance(fleet: FleetSnapshot, capacity: Capacity) -> tuple[Action, ...]:
    """At most one move, while no camera is on its way, every camera is on a shard, and no shard is to be replaced.

    Counts are made equal only once after shards joined or left, so that later moves by operators are not undone; after
    that, load decides. Neither is worth a memory: a camera goes only to a shard whose model reads it.
    """
    if fleet.outdated or not _is_at_rest(fleet):
        return ()
    incarnations = tuple(shard.incarnation for shard in fleet.shards if shard.is_accepting)
    if incarnations == fleet.balanced_shards:
        return _move_by_load(fleet, capacity)
    return _move_by_count(fleet, capacity) or (NoteBalance(incarnations),)


def _is_at_rest(fleet: FleetSnapshot) -> bool:
    return all(not camera.is_busy and _is_settled(fleet, camera) for camera in fleet.cameras.values())


def _is_settled(fleet: FleetSnapshot, camera: CameraSnapshot) -> bool:
    shard = fleet.shards[camera.shard]
    return camera.is_refused or (shard.is_up and camera.id in shard.cameras)


def _move_by_count(fleet: FleetSnapshot, capacity: Capacity) -> tuple[Action, ...]:
    counts = capacity.counts
    for sources, targets in _exchanges(capacity):
        fullest = max(sources, key=lambda shard: counts[shard.index])
        emptiest = min(targets, key=lambda shard: counts[shard.index], default=None)
        if emptiest is not None and counts[fullest.index] - counts[emptiest.index] >= 2:
            return _move(fleet, fullest.index, emptiest.index)
    return ()


def _move_by_load(fleet: FleetSnapshot, capacity: Capacity) -> tuple[Action, ...]:
    if fleet.now_s < fleet.load_settled_s:
        return ()
    for sources, targets in _exchanges(capacity):
        busiest = max(sources, key=lambda shard: shard.busy_share)
        idlest = min(targets, key=lambda shard: shard.busy_share, default=None)
        if idlest is None or capacity.counts[busiest.index] < 2:
            continue
        if busiest.busy_share - idlest.busy_share >= _MIN_LOAD_DIFFERENCE:
            return _move(fleet, busiest.index, idlest.index)
    return ()


def _exchanges(capacity: Capacity) -> Iterator[tuple[Sequence[ShardSnapshot], Sequence[ShardSnapshot]]]:
    """For each model, the shards that run it, and those with a free slot that read its memories."""
    active = capacity.active()
    free = [shard for shard in active if capacity.is_free(shard.index)]
    for fingerprint in dict.fromkeys(shard.fingerprint for shard in active):
        sources = [shard for shard in active if shard.fingerprint == fingerprint]
        yield sources, [shard for shard in free if shard.can_read(fingerprint)]


def _move(fleet: FleetSnapshot, source: int, target: int) -> tuple[Action, ...]:
    """Moves the camera whose last question is the oldest, unless its last try has just failed."""
    on_source = [camera for camera in fleet.cameras.values() if camera.shard == source]
    camera = min(on_source, key=lambda camera: camera.last_question_s)
    return (Move(camera.id, source, target),) if camera.retry_at_s <= fleet.now_s else ()
