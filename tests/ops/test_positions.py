"""Reindexed positions: one numbering for all layers, in order, bounded."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import positions

layers = st.lists(st.sets(st.integers(0, 5_000), max_size=40).map(sorted), min_size=1, max_size=5)


def reindexed(
    used: list[list[int]], *, first: int, max_span: int, max_gap: int, recent_from: int = 1 << 40
) -> list[list[int]]:
    tensors = [torch.tensor(layer, dtype=torch.int64) for layer in used]
    result = positions.reindex(tensors, first=first, max_span=max_span, max_gap=max_gap, recent_from=recent_from)
    return [layer.tolist() for layer in result]


def test_layers_with_equal_positions_are_numbered_without_gaps() -> None:
    assert reindexed([[7, 9, 200]] * 3, first=2, max_span=100, max_gap=1) == [[2, 3, 4]] * 3


@given(layers, st.integers(0, 20))
def test_within_the_span_a_position_becomes_its_rank_among_all_layers(used: list[list[int]], first: int) -> None:
    everywhere = sorted({position for layer in used for position in layer})
    rank = {position: first + index for index, position in enumerate(everywhere)}

    result = reindexed(used, first=first, max_span=10_000, max_gap=1)

    assert result == [[rank[position] for position in layer] for layer in used]


@given(layers, st.integers(1, 50))
def test_within_the_span_longer_gaps_are_cut_and_short_ones_stay(used: list[list[int]], max_gap: int) -> None:
    """The slow reference: gap by gap, over the positions of all layers."""
    everywhere = sorted({position for layer in used for position in layer})
    expected = dict.fromkeys(everywhere[:1], 0)
    for before, after in pairwise(everywhere):
        expected[after] = expected[before] + min(after - before, max_gap)

    result = reindexed(used, first=0, max_span=1_000_000, max_gap=max_gap)

    assert result == [[expected[position] for position in layer] for layer in used]


@given(layers, st.integers(1, 60), st.sampled_from([1, 5, 16]))
def test_beyond_the_span_order_and_bound_hold(used: list[list[int]], max_span: int, max_gap: int) -> None:
    for layer, result in zip(used, reindexed(used, first=3, max_span=max_span, max_gap=max_gap), strict=True):
        assert len(result) == len(layer)
        assert result == sorted(result)
        assert all(3 <= position < 3 + max_span for position in result)


@given(layers, st.integers(0, 5_000), st.integers(0, 40), st.sampled_from([1, 5, 16]))
def test_no_two_tokens_of_a_layer_share_a_position_and_the_recent_ones_keep_their_distances(
    used: list[list[int]], recent_from: int, more: int, max_gap: int
) -> None:
    """Wherever a layer's past and all of the recent positions fit."""
    newest = max((layer[-1] for layer in used if layer), default=0)
    recent_from = max(recent_from, newest - 60)
    window = [position for layer in used for position in layer if position >= recent_from]
    window_span = max(window) - min(window) + 1 if window else 0
    max_span = max(sum(position < recent_from for position in layer) for layer in used) + window_span + more

    result = reindexed(used, first=3, max_span=max_span, max_gap=max_gap, recent_from=recent_from)

    shifts = set()
    for layer, new in zip(used, result, strict=True):
        assert all(before < after for before, after in pairwise(new))
        assert all(3 <= position < 3 + max_span for position in new)
        shifts |= {old - moved for old, moved in zip(layer, new, strict=True) if old >= recent_from}
    assert len(shifts) <= 1
