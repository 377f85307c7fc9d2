"""Closing up positions: one frame for all layers, order kept, bounded."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import positions

layers = st.lists(st.sets(st.integers(0, 5_000), max_size=40).map(sorted), min_size=1, max_size=5)


def closed_up(held: list[list[int]], *, first: int, room: int, longest_gap: int) -> list[torch.Tensor]:
    tensors = [torch.tensor(layer, dtype=torch.int64) for layer in held]
    return positions.reindex(tensors, first=first, room=room, longest_gap=longest_gap)


def test_layers_that_hold_the_same_are_numbered_without_gaps() -> None:
    closed = positions.reindex([torch.tensor([7, 9, 200])] * 3, first=2, room=100, longest_gap=1)
    assert all(layer.tolist() == [2, 3, 4] for layer in closed)


@given(layers, st.integers(0, 20))
def test_with_room_it_is_the_rank_among_all_layers(held: list[list[int]], first: int) -> None:
    everywhere = sorted({position for layer in held for position in layer})
    rank = {position: first + place for place, position in enumerate(everywhere)}
    closed = closed_up(held, first=first, room=10_000, longest_gap=1)
    assert [layer.tolist() for layer in closed] == [[rank[position] for position in layer] for layer in held]


@given(layers, st.integers(1, 50))
def test_with_room_no_gap_is_longer_and_short_ones_stay(held: list[list[int]], longest_gap: int) -> None:
    """The slow reference: gap by gap, over whatever any layer holds."""
    everywhere = sorted({position for layer in held for position in layer})
    place = dict.fromkeys(everywhere[:1], 0)
    for before, after in pairwise(everywhere):
        place[after] = place[before] + min(after - before, longest_gap)
    closed = closed_up(held, first=0, room=1_000_000, longest_gap=longest_gap)
    assert [layer.tolist() for layer in closed] == [[place[position] for position in layer] for layer in held]


@given(layers, st.integers(1, 60), st.sampled_from([1, 5, 16]))
def test_without_room_order_and_bound_hold(held: list[list[int]], room: int, longest_gap: int) -> None:
    closed = closed_up(held, first=3, room=room, longest_gap=longest_gap)
    for layer in closed:
        assert layer.tolist() == sorted(layer.tolist())
        assert all(3 <= position < 3 + room for position in layer.tolist())
