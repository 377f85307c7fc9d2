"""How shards of another generation are replaced: one after the other, emptied by moves. Pure, as the plan."""

from __future__ import annotations

from collections.abc import Iterator

from actors.fleet.actions import Move, Replace, Resize, Wait
from actors.fleet.capacity import MOVES_AT_ONCE, Capacity
from actors.fleet.snapshot import CameraSnapshot, FleetSnapshot, ShardSnapshot

NO_ROOM = "its shard is to be replaced, and no other shard has room for its cameras: allow one more (shards.max)"


def plan_replacement(fleet: FleetSnapshot, capacity: Capacity) -> Iterator[Move | Wait | Replace | Resize]:
    """Empties the shard of another generation that has the fewest cameras, then replaces its process.

    Only one at a time, and only while all others are up: what it had finds a slot.
    """
    others = [shard for shard in fleet.shards if not (shard.is_retiring or shard.is_ended)]
    outdated = [shard for shard in fleet.outdated if not shard.is_retiring]
    if not outdated or not all(shard.is_up for shard in others):
        return
    shard = min(outdated, key=lambda shard: (capacity.counts[shard.index], shard.index))
    cameras = [camera for camera in fleet.cameras.values() if camera.shard == shard.index]
    if not cameras and not (shard.cameras or shard.standby or shard.num_busy):
        yield Replace(shard.index)
    elif len(cameras) > capacity.num_free(exclude=[shard.index]):
        yield from _without_room(fleet, shard, cameras)
    elif not shard.is_draining:  # that one is being emptied already
        yield from _moves(fleet, capacity, shard, cameras)


def _without_room(fleet: FleetSnapshot, shard: ShardSnapshot, cameras: list[CameraSnapshot]) -> Iterator[Wait | Resize]:
    target = fleet.size.numbers.target
    if target < fleet.size.numbers.max:
        yield Resize(target + 1, f"shard {shard.index} is to be replaced, and its cameras need room meanwhile")
    else:
        yield from (Wait(camera.id, NO_ROOM) for camera in cameras if not camera.is_busy)


def _moves(
    fleet: FleetSnapshot, capacity: Capacity, shard: ShardSnapshot, cameras: list[CameraSnapshot]
) -> Iterator[Move]:
    for camera in sorted(cameras, key=lambda camera: camera.last_question_s):
        is_ready = camera.id in shard.cameras and not camera.is_busy and camera.retry_at_s <= fleet.now_s
        target = capacity.best(exclude=[shard.index], fingerprint=camera.fingerprint)
        if is_ready and target is not None and capacity.can_start(MOVES_AT_ONCE, shard.index, target):
            capacity.start(shard.index)
            capacity.take(target)
            yield Move(camera.id, shard.index, target)
