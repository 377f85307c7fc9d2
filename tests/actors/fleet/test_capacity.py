"""The best shard for a camera, against a slow plain reference, whatever the plan has given away before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.fleet.capacity import Capacity
from actors.fleet.snapshot import FleetSnapshot, ShardSnapshot

SHARDS = 5

shards = st.builds(
    ShardSnapshot,
    index=st.just(0),
    is_up=st.booleans(),
    slots=st.integers(0, 3),  # 0: any number
    busy_share=st.sampled_from((0.0, 0.5)),
)
takes = st.tuples(st.sets(st.integers(0, SHARDS - 1)), st.booleans())


@given(st.lists(shards, min_size=SHARDS, max_size=SHARDS), st.lists(takes, max_size=20))
def test_the_best_shard_is_the_emptiest_that_takes_a_camera(
    drawn: list[ShardSnapshot], steps: list[tuple[set[int], bool]]
) -> None:
    placed = [_at(index, shard) for index, shard in enumerate(drawn)]
    capacity, taken = Capacity(FleetSnapshot(now_s=0.0, shards=tuple(placed))), [0] * SHARDS

    for excluded, is_taken in steps:
        free = [
            shard
            for shard in placed
            if shard.is_up and shard.index not in excluded and (not shard.slots or taken[shard.index] < shard.slots)
        ]
        best = min(free, key=lambda shard: (taken[shard.index], shard.busy_share, shard.index), default=None)

        index = capacity.best(exclude=excluded)

        assert index == (None if best is None else best.index)
        if index is not None and is_taken:
            capacity.take(index)
            taken[index] += 1


def _at(index: int, shard: ShardSnapshot) -> ShardSnapshot:
    return ShardSnapshot(index=index, is_up=shard.is_up, slots=shard.slots, busy_share=shard.busy_share)
