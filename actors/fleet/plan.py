"""The leader's plan: what must happen now so that what is becomes what shall be. Pure: no clock, no calls, no state.

A plan starts only what may start now. What it leaves out, because a shard is busy or a grace period is not over, is in
a later plan.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.fleet import balance, replacement, scaling
from actors.fleet.actions import Action, Assign, Drop, FinishRemoval, Move, Release, Revoke, Update, Wait
from actors.fleet.capacity import ASSIGNMENTS_AT_ONCE, MOVES_AT_ONCE, Capacity
from actors.fleet.snapshot import CameraSnapshot, FleetSnapshot, ShardSnapshot

# Grace period before the lease of an unreachable shard is revoked: its process may live on and would keep its cameras.
UNREACHABLE_GRACE_S = 3.0
# Grace period before an incarnation that no reachable shard reports is revoked: a fleet that has just started may not
# have heard from every shard yet.
UNKNOWN_GRACE_S = 10.0
# Grace period before a camera that nobody wants is ended: the registry may be on its way back, or a move may just have
# ended.
UNWANTED_GRACE_S = 10.0
# Without a registry that was read so recently, nothing is known to be unwanted.
_SYNC_VALID_S = 5.0
_REVOKE_EVERY_S = 1.0
_REMOVALS_AT_ONCE = 8

NO_SLOT = "no shard has a free slot"
NO_SLOT_YET = "no free slot yet: one more shard is asked for"
NO_SLOT_WHILE_MOVING = "no free slot yet: a camera that moves keeps one on two shards"


def plan(fleet: FleetSnapshot) -> tuple[Action, ...]:
    """What the leader shall start now; nothing for another fleet."""
    if not fleet.is_leader:
        return ()
    capacity = Capacity(fleet)
    actions = [
        *_revocations(fleet),
        *_removals(fleet),
        *_leftovers(fleet),
        *_updates(fleet, capacity),
        *_assignments(fleet, capacity),
        *_evacuations(fleet, capacity),
        *replacement.plan_replacement(fleet, capacity),
    ]
    # Cameras are spread only over a fleet that is at rest.
    return (*(actions or balance.plan_balance(fleet, capacity)), *scaling.plan_scaling(fleet))


def is_missing(camera: CameraSnapshot, shard: ShardSnapshot) -> bool:
    """Whether the shard that shall have the camera does not own it, or owns it in an epoch that is not the newest."""
    reported = shard.cameras.get(camera.id)
    return reported is None or not reported.is_owned or reported.epoch < camera.newest_epoch


def _revocations(fleet: FleetSnapshot) -> Iterator[Revoke]:
    """Ends owners that nobody reaches: of a shard that is away, and those that no shard reports."""
    reachable = {shard.incarnation for shard in fleet.shards if shard.is_up}
    for shard in fleet.shards:
        if shard.is_up or shard.incarnation is None or shard.has_expired or shard.down_since_s is None:
            continue
        if fleet.now_s - shard.down_since_s >= UNREACHABLE_GRACE_S and _may_revoke(fleet, shard.incarnation):
            yield Revoke(shard.incarnation)
    replaced = {shard.previous_incarnation for shard in fleet.shards}
    for incarnation, since_s in fleet.unknown_owners.items():
        if incarnation in reachable or not _may_revoke(fleet, incarnation):
            continue
        if incarnation in replaced or fleet.now_s - since_s >= UNKNOWN_GRACE_S:
            yield Revoke(incarnation)


def _may_revoke(fleet: FleetSnapshot, incarnation: str) -> bool:
    revoked_s = fleet.revoked_s.get(incarnation)
    return revoked_s is None or fleet.now_s - revoked_s >= _REVOKE_EVERY_S


def _removals(fleet: FleetSnapshot) -> Iterator[FinishRemoval]:
    free = _REMOVALS_AT_ONCE - sum(removal.is_busy for removal in fleet.removals.values())
    for removal in fleet.removals.values():
        if free > 0 and not removal.is_busy and removal.retry_at_s <= fleet.now_s:
            free -= 1
            yield FinishRemoval(removal.id)


def _leftovers(fleet: FleetSnapshot) -> Iterator[Drop | Release]:
    """Ends what a shard watches and nobody wants there: a stale copy, or a camera that the registry does not have.

    A camera that was removed is ended by its removal.
    """
    is_synced = fleet.now_s - fleet.synced_s <= _SYNC_VALID_S
    for shard in fleet.shards:
        if not shard.is_up:
            continue
        for camera_id, reported in shard.cameras.items():
            since_s = reported.unwanted_since_s
            if since_s is None or fleet.now_s - since_s < UNWANTED_GRACE_S or camera_id in fleet.removals:
                continue
            camera = fleet.cameras.get(camera_id)
            if camera is None:
                if is_synced:
                    # Without an owner its memory cannot be saved, and no camera of this id is wanted.
                    yield Release(camera_id, shard.index) if reported.is_owned else Drop(camera_id, shard.index)
            elif camera.shard != shard.index and not camera.is_busy:
                yield Drop(camera_id, shard.index)


def _updates(fleet: FleetSnapshot, capacity: Capacity) -> Iterator[Update]:
    for camera in fleet.cameras.values():
        reported = fleet.shards[camera.shard].cameras.get(camera.id)
        if reported is None or reported.revision >= camera.revision or not _may_start(fleet, camera):
            continue
        is_reachable = fleet.shards[camera.shard].is_up and not is_missing(camera, fleet.shards[camera.shard])
        if is_reachable and capacity.can_start(ASSIGNMENTS_AT_ONCE, camera.shard):
            capacity.start(camera.shard)
            yield Update(camera.id, camera.shard)


def _assignments(fleet: FleetSnapshot, capacity: Capacity) -> Iterator[Assign | Wait]:
    """Gives cameras that no shard watches to their shard, or to another one if that has failed, drains or is full.

    One that came back with another model keeps its cameras only where no shard that reads their memories has a slot.
    """
    missing = [camera for camera in fleet.cameras.values() if _needs_shard(fleet, camera)]
    missing.sort(key=lambda camera: -camera.last_question_s)
    # For thousands of cameras that find no slot, each shard is looked at once.
    has_room, coming = True, _coming_slot(fleet)
    for camera in missing:
        shard = fleet.shards[camera.shard]
        is_own = shard.is_up and (capacity.has_own_slot(shard.index) or camera.id in shard.cameras)
        is_readable = is_own and (camera.id in shard.cameras or shard.can_read(camera.fingerprint))
        is_placeable = has_room and not is_readable
        other = capacity.best(exclude=(), fingerprint=camera.fingerprint) if is_placeable else None
        is_own = is_own and (other is None or not fleet.shards[other].can_read(camera.fingerprint))
        if is_own and not capacity.can_start(ASSIGNMENTS_AT_ONCE, shard.index):
            continue
        target = shard.index if is_own else other
        if target is None:
            has_room = False
            yield Wait(camera.id, coming or _no_slot_reason(shard))
        elif capacity.can_start(ASSIGNMENTS_AT_ONCE, target):
            capacity.take(target, is_own=is_own)
            yield Assign(camera.id, target)


def _needs_shard(fleet: FleetSnapshot, camera: CameraSnapshot) -> bool:
    shard = fleet.shards[camera.shard]
    if shard.incarnation is None and shard.is_up:
        return False  # not observed yet
    # While a camera's move or assignment elsewhere runs, its shard is empty and may be ended; the action may then fail.
    is_gone = shard.has_expired or shard.is_starting or shard.is_ended
    is_lost = is_missing(camera, shard) if shard.is_up else is_gone
    return is_lost and _may_start(fleet, camera)


def _coming_slot(fleet: FleetSnapshot) -> str:
    """What a camera without a slot waits for; empty where no further shard comes."""
    starting = next((shard for shard in fleet.shards if shard.is_starting and not shard.is_retiring), None)
    if starting is not None:
        return f"no free slot yet: {starting.detail or f'shard {starting.index} starts'}"
    return NO_SLOT_YET if fleet.size.numbers.target < fleet.size.numbers.max else ""


def _no_slot_reason(shard: ShardSnapshot) -> str:
    if shard.is_up:
        return NO_SLOT
    return f"shard {shard.index} is down and no other shard that takes cameras has a free slot"


def _evacuations(fleet: FleetSnapshot, capacity: Capacity) -> Iterator[Move | Wait]:
    """Empties the shards that drain, the cameras that were asked last at the end."""
    leaving = {shard.index for shard in fleet.shards if shard.is_up and (shard.is_draining or shard.is_retiring)}
    if not leaving:
        return
    cameras = [camera for camera in fleet.cameras.values() if camera.shard in leaving]
    for camera in sorted(cameras, key=lambda camera: camera.last_question_s):
        source = fleet.shards[camera.shard]
        if is_missing(camera, source) or not _may_start(fleet, camera):
            continue
        target = capacity.best(exclude=[source.index], fingerprint=camera.fingerprint)
        if target is None:
            yield Wait(camera.id, "no other shard that takes cameras has a free slot")
        elif capacity.can_start(MOVES_AT_ONCE, source.index, target):
            capacity.start(source.index)
            capacity.take(target)
            yield Move(camera.id, source.index, target)


def _may_start(fleet: FleetSnapshot, camera: CameraSnapshot) -> bool:
    return not camera.is_busy and camera.retry_at_s <= fleet.now_s
