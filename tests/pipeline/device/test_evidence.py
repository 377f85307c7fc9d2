"""The moments an answer rests on."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cache_store.memory import CachedTokens
from pipeline.device import evidence
from pipeline.device.evidence import MAX_MOMENTS, SAME_MOMENT_S

PER_FRAME = 4


def tokens(frames: list[int], *, summary_first: bool = False) -> CachedTokens:
    """One token a frame, a frame each second."""
    ids = torch.tensor(([-1] if summary_first else []) + [frame * PER_FRAME + 1 for frame in frames])
    empty = torch.zeros(1, len(ids), 2)
    times = torch.tensor(([0.0] if summary_first else []) + [float(frame) for frame in frames], dtype=torch.float64)
    return CachedTokens(empty, empty, torch.arange(len(ids)), ids, torch.ones_like(ids), times)


def test_the_heaviest_moment_comes_first_with_its_neighbours_weight() -> None:
    weights = torch.tensor([0.0, 0.0, 0.1, 0.5, 0.1, 0.3])
    found = evidence.find_moments([(tokens([0, 10, 19, 20, 21, 40]), weights)], PER_FRAME)
    assert [moment.frame for moment in found] == [20, 40]
    assert found[0].time_s == 20.0
    assert abs(found[0].weight - 0.7) < 1e-6


def test_layers_add_up_though_they_hold_different_tokens() -> None:
    first = (tokens([0, 30]), torch.tensor([0.4, 0.3]))
    second = (tokens([30]), torch.tensor([0.3]))
    found = evidence.find_moments([first, second], PER_FRAME)
    assert [moment.frame for moment in found] == [30, 0]


def test_a_second_moment_must_draw_more_than_the_first_must() -> None:
    apart = [0, 10, 20, 30, 40, 50]
    found = evidence.find_moments([(tokens(apart), torch.tensor([0.22, 0.21, 0.2, 0.2, 0.1, 0.07]))], PER_FRAME)
    assert [moment.frame for moment in found] == [0]


def test_a_summary_is_of_no_one_moment() -> None:
    found = evidence.find_moments([(tokens([5], summary_first=True), torch.tensor([0.9, 0.1]))], PER_FRAME)
    assert [(moment.frame, moment.weight) for moment in found] == [(5, 1.0)]


def test_attention_spread_evenly_is_no_evidence() -> None:
    frames = list(range(0, 300, 10))
    assert evidence.find_moments([(tokens(frames), torch.ones(30) / 30)], PER_FRAME) == []


def test_a_memory_of_nothing_gives_no_evidence() -> None:
    assert evidence.find_moments([(tokens([]), torch.zeros(0))], PER_FRAME) == []


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=30))
def test_there_are_at_most_three_moments_and_they_are_apart(weights: list[float]) -> None:
    found = evidence.find_moments([(tokens(list(range(len(weights)))), torch.tensor(weights))], PER_FRAME)
    assert len(found) <= MAX_MOMENTS
    assert sum(moment.weight for moment in found) <= 1 + 1e-6
    times = [moment.time_s for moment in found]
    assert all(abs(left - right) > SAME_MOMENT_S for left in times for right in times if left != right)
