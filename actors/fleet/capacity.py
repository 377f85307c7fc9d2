"""Which shards have room for a camera, and for one more action, counted on while a plan is made."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Sequence
from typing import TypeAlias

from actors.fleet.shard_record import ShardRecord
from actors.fleet.snapshot import FleetSnapshot, ShardSnapshot

ASSIGNMENTS_AT_ONCE = 4  # on one shard
MOVES_AT_ONCE = 8  # from or to one shard

_Rank: TypeAlias = "tuple[bool, bool, bool, int, float, int]"  # the lowest is the best; the shard's index comes last


def first_choice(shards: Sequence[ShardRecord], counts: Sequence[int], spares: int) -> int:
    """Where a new camera goes: the emptiest shard with a free slot and time, spares last; else one that starts, or any.

    counts: cameras that are on each shard or shall be. Costs what the number of shards costs, not that of cameras.
    """
    spare = kept_empty(shards, counts, spares)
    # One list, no calls: it is made for each camera of a fleet, with as many rows as there are shards.
    ranks = [
        (
            shard.is_retiring or shard.is_ended,
            not shard.is_accepting or 0 < shard.slots <= count or 0 < shard.slots <= len(shard.reported),
            0 < shard.max_ingest_share <= shard.ingest_share,
            index in spare,
            count,
            shard.busy_share,
            index,
        )
        for index, (shard, count) in enumerate(zip(shards, counts, strict=True))
    ]
    return min(ranks)[-1]


class Capacity:
    """The free slots of each shard, less what the plan gives away."""

    def __init__(self, fleet: FleetSnapshot) -> None:
        self._shards = fleet.shards
        self._busy = [shard.num_busy for shard in fleet.shards]
        self._on_device = [len(shard.cameras.keys() | shard.standby) for shard in fleet.shards]
        self._taken = list(self._on_device)
        self.counts = [0] * len(fleet.shards)  # cameras that are on a shard or shall be
        for camera in fleet.cameras.values():
            shard = fleet.shards[camera.shard]
            self.counts[camera.shard] += 1
            if camera.id not in shard.cameras and camera.id not in shard.standby:
                self._taken[camera.shard] += 1
                self._on_device[camera.shard] += camera.is_busy
        self._outdated = {shard.index for shard in fleet.outdated}
        self._kept_empty = kept_empty(fleet.shards, self.counts, fleet.size.numbers.spares)
        # A heap, with outdated ranks among the present ones: a plan may ask for the best shard for each of thousands of
        # cameras. One heap for each fingerprint of memories, of which there are few.
        self._ranks: dict[str, list[_Rank]] = {}

    def active(self) -> list[ShardSnapshot]:
        """The shards that accept cameras, without spares."""
        return [shard for shard in self._shards if shard.is_accepting and shard.index not in self._kept_empty]

    def is_free(self, index: int) -> bool:
        """Whether the shard has a slot for a camera that is not on it, and is not meant for it, yet."""
        return self._taken[index] < (self._shards[index].slots or math.inf)

    def num_free(self, *, exclude: Collection[int]) -> float:
        """How many cameras the other shards have slots for."""
        return sum(
            max(0, (shard.slots or math.inf) - self._taken[shard.index])
            for shard in self._shards
            if shard.index not in exclude and shard.is_accepting
        )

    def has_own_slot(self, index: int) -> bool:
        """Whether the shard has a slot for a camera that is meant for it already."""
        shard = self._shards[index]
        return shard.is_accepting and self._on_device[index] < (shard.slots or math.inf)

    def best(self, *, exclude: Collection[int], fingerprint: str) -> int | None:
        """The emptiest shard that accepts a camera and has a free slot; None where there is none.

        A spare is taken late, then one whose model does not read memories of this fingerprint, and last a shard that is
        to be replaced: there a memory could stay for a moment only.
        """
        ranks = self._ranks_for(fingerprint)
        excluded: list[_Rank] = []
        found: int | None = None
        while ranks and found is None:
            rank, index = ranks[0], ranks[0][-1]
            if rank != self._rank(self._shards[index], fingerprint) or not self.is_free(index):
                heapq.heappop(ranks)
            elif index in exclude:
                excluded.append(heapq.heappop(ranks))
            else:
                found = index
        for rank in excluded:
            heapq.heappush(ranks, rank)
        return found

    def can_start(self, limit: int, *shards: int) -> bool:
        """Whether fewer than `limit` actions run on each of these shards."""
        return all(self._busy[index] < limit for index in shards)

    def take(self, index: int, *, is_own: bool = False) -> None:
        """Counts a camera that the plan gives to the shard. is_own: it was meant for this shard before."""
        self._on_device[index] += 1
        self._busy[index] += 1
        if not is_own:
            self._taken[index] += 1
            if self._shards[index].is_accepting:
                for fingerprint, ranks in self._ranks.items():
                    heapq.heappush(ranks, self._rank(self._shards[index], fingerprint))

    def start(self, index: int) -> None:
        """Counts an action of the plan on this shard."""
        self._busy[index] += 1

    def _ranks_for(self, fingerprint: str) -> list[_Rank]:
        if fingerprint not in self._ranks:
            self._ranks[fingerprint] = [self._rank(shard, fingerprint) for shard in self._shards if shard.is_accepting]
            heapq.heapify(self._ranks[fingerprint])
        return self._ranks[fingerprint]

    def _rank(self, shard: ShardSnapshot, fingerprint: str) -> _Rank:
        return (
            shard.index in self._outdated,
            not shard.can_read(fingerprint),
            shard.index in self._kept_empty,
            self._taken[shard.index],
            shard.busy_share,
            shard.index,
        )


def kept_empty(shards: Sequence[ShardRecord | ShardSnapshot], counts: Sequence[int], spares: int) -> frozenset[int]:
    """The spares: the last of the empty shards, less one for each shard that is down, whose place a spare takes."""
    if not spares:
        return frozenset()
    empty = [index for index, shard in enumerate(shards) if shard.is_accepting and not counts[index]]
    num_kept = max(0, spares - sum(not shard.is_up and not shard.is_ended for shard in shards))
    return frozenset(empty[max(0, len(empty) - num_kept) :])
