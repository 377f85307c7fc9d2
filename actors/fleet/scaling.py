"""How many shards there shall be: more when cameras find no slot or the devices are busy, fewer when fewer are enough.

Pure, as the plan. A shard that waits for a node counts like one that runs: it was asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from actors.fleet.actions import EndShard, NotePressure, Resize
from actors.fleet.snapshot import FleetSnapshot, Pressure, ShardSnapshot

_FIRST_ANSWER_S = 10.0  # a process that runs answers within this time, or is ended like one that hangs


def plan_scaling(fleet: FleetSnapshot) -> Iterator[Resize | EndShard | NotePressure]:
    """At most one change of the number of shards, and the end of the last one that is empty and beyond the target."""
    yield from _ends(fleet)
    numbers, need = fleet.size.numbers, _need(fleet)
    if need > numbers.target:
        yield Resize(need, _need_reason(fleet, need))
        return
    fewer = _enough(fleet)
    pressure = _pressure(fleet, fewer)
    if pressure is not fleet.size.pressure:
        yield NotePressure(pressure)
        return
    lasted_s = fleet.now_s - fleet.size.pressure_since_s
    if pressure is Pressure.OVERLOAD and lasted_s >= fleet.size.scaling.up_after_s:
        yield Resize(numbers.target + 1, f"the devices work {_busy_share(fleet):.0%} of the time")
    if pressure is Pressure.SURPLUS and lasted_s >= fleet.size.scaling.down_after_s:
        yield Resize(fewer, f"{_count(_num_cameras(fleet), 'camera')} fit in {_count(fewer, 'shard')}")


def can_hold(fleet: FleetSnapshot, num_cameras: int, most: int) -> bool:
    """Whether so many cameras find a slot on `most` shards, the spares too."""
    return num_cameras <= _room(fleet, most, spares=0)


def _ends(fleet: FleetSnapshot) -> Iterator[EndShard]:
    index = fleet.size.numbers.started - 1
    if fleet.size.numbers.target <= index < len(fleet.shards) and _is_empty(fleet, fleet.shards[index]):
        yield EndShard(index)


def _is_empty(fleet: FleetSnapshot, shard: ShardSnapshot) -> bool:
    """Whether the shard has nothing and gets nothing.

    One that is away may have cameras until its lease has expired. One that has not answered yet may be running: this
    fleet may have found it just now.
    """
    if shard.is_up:
        has_cameras = bool(shard.cameras or shard.standby)
    elif shard.is_starting:
        has_cameras = shard.down_since_s is None or fleet.now_s - shard.down_since_s < _FIRST_ANSWER_S
    else:
        has_cameras = not shard.has_expired
    if has_cameras or shard.num_busy or shard.is_ended:
        return False
    return all(camera.shard != shard.index for camera in fleet.cameras.values())


def _need(fleet: FleetSnapshot) -> int:
    """The fewest shards, but not fewer than there shall be now, on which cameras fit without `spares` of them."""
    numbers, num_cameras, need = fleet.size.numbers, _num_cameras(fleet), fleet.size.numbers.target
    while need < numbers.max and _room(fleet, need, spares=numbers.spares) < num_cameras:
        need += 1
    return need


def _enough(fleet: FleetSnapshot) -> int:
    """The fewest shards on which all cameras fit with a margin, and whose devices would not be busy."""
    numbers, scaling, num_cameras = fleet.size.numbers, fleet.size.scaling, _num_cameras(fleet)
    busy = sum(shard.busy_share for shard in _open(fleet, numbers.target))
    fewer = numbers.target
    while fewer > numbers.min:
        room = math.ceil(scaling.full_below * _room(fleet, fewer - 1, spares=numbers.spares))
        num_open = len(_open(fleet, fewer - 1))
        if num_cameras > room or busy > scaling.busy_below * num_open or not _keeps_memories(fleet, fewer - 1):
            break
        fewer -= 1
    return fewer


def _pressure(fleet: FleetSnapshot, fewer: int) -> Pressure:
    numbers, shards = fleet.size.numbers, fleet.shards[: fleet.size.numbers.target]
    if any(not shard.is_up and not shard.is_starting for shard in shards):
        return Pressure.NONE  # a shard is away: what its cameras need is seen once they are elsewhere
    if fewer < numbers.target:
        return Pressure.SURPLUS
    # One more shard helps only if it gets a camera of a busy one, and once those before it are up and have theirs.
    can_help = all(shard.is_up for shard in shards) and _num_cameras(fleet) > len(_open(fleet, numbers.target))
    is_overload = _busy_share(fleet) > fleet.size.scaling.busy_above and fleet.now_s >= fleet.load_settled_s
    return Pressure.OVERLOAD if is_overload and can_help and numbers.target < numbers.max else Pressure.NONE


def _open(fleet: FleetSnapshot, count: int) -> Sequence[ShardSnapshot]:
    """Those of the first `count` shards that take cameras, or will."""
    return [shard for shard in fleet.shards[:count] if not shard.is_draining]


def _keeps_memories(fleet: FleetSnapshot, count: int) -> bool:
    """Whether each memory finds a slot on one of the first `count` shards whose model reads it."""
    memories = Counter(camera.fingerprint for camera in fleet.cameras.values() if not camera.is_refused)
    return all(number <= _room(fleet, count, spares=0, fingerprint=read) for read, number in memories.items())


def _room(fleet: FleetSnapshot, count: int, *, spares: int, fingerprint: str = "") -> int:
    """Slots of the first `count` shards without the largest `spares` of them; those that drain have none.

    fingerprint: counts only shards that read such memories.
    """
    slots = [shard.slots or fleet.size.slots for shard in _open(fleet, count) if shard.can_read(fingerprint)]
    slots += [fleet.size.slots] * (count - len(fleet.shards))
    return sum(sorted(slots)[: max(0, len(slots) - spares)])


def _num_cameras(fleet: FleetSnapshot) -> int:
    return sum(not camera.is_refused for camera in fleet.cameras.values())


def _busy_share(fleet: FleetSnapshot) -> float:
    shares = [shard.busy_share for shard in _open(fleet, fleet.size.numbers.target) if shard.is_up]
    return sum(shares) / len(shares) if shares else 0.0


def _need_reason(fleet: FleetSnapshot, need: int) -> str:
    spares = fleet.size.numbers.spares
    needs = f"{_count(_num_cameras(fleet), 'camera')} need {_count(need, 'shard')} of {fleet.size.slots} slots"
    return f"{needs}, {_count(spares, 'spare')} among them" if spares else needs


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
