"""The best shard for a camera, against a slow plain reference, whatever the plan has given away before."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

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
    fingerprints=st.sampled_from(((), ("a",), ("b", "a"), ("b",))),
)
takes = st.tuples(st.sets(st.integers(0, SHARDS - 1)), st.booleans(), st.sampled_from(("", "a", "b")))


@given(st.lists(shards, min_size=SHARDS, max_size=SHARDS), st.lists(takes, max_size=20))
def test_the_best_shard_is_the_emptiest_that_takes_a_camera_and_reads_its_memory(
    drawn: list[ShardSnapshot], steps: list[tuple[set[int], bool, str]]
) -> None:
    placed = [_at(index, shard) for index, shard in enumerate(drawn)]
    capacity, taken = Capacity(FleetSnapshot(now_s=0.0, shards=tuple(placed))), [0] * SHARDS

    for excluded, is_taken, fingerprint in steps:
        free = [
            shard
            for shard in placed
            if shard.is_up and shard.index not in excluded and (not shard.slots or taken[shard.index] < shard.slots)
        ]
        best = min(free, key=partial(_rank, fingerprint, taken), default=None)

        index = capacity.best(exclude=excluded, fingerprint=fingerprint)

        assert index == (None if best is None else best.index)
        if index is not None and is_taken:
            capacity.take(index)
            taken[index] += 1


def _at(index: int, shard: ShardSnapshot) -> ShardSnapshot:
    return replace(shard, index=index)


def _rank(fingerprint: str, taken: list[int], shard: ShardSnapshot) -> tuple[bool, int, float, int]:
    is_unreadable = bool(fingerprint and shard.fingerprints) and fingerprint not in shard.fingerprints
    return is_unreadable, taken[shard.index], shard.busy_share, shard.index
