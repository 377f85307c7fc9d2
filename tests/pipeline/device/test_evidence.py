"""The moments that an answer rests on."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cache_store import token_ids
from cache_store.cached_tokens import CachedTokens
from pipeline.device import evidence
from pipeline.device.evidence import MAX_MOMENTS, SAME_MOMENT_S
from tests.host_reads import META, HostReads


def tokens(frames: list[int], *, summary_first: bool = False) -> CachedTokens:
    """One token per frame; the frame number is its time in seconds."""
    numbers = ([-1] if summary_first else []) + [token_ids.first_of(frame) + 1 for frame in frames]
    ids = torch.tensor(numbers, dtype=torch.int64)
    empty = torch.zeros(1, len(ids), 2)
    times = torch.tensor(([0.0] if summary_first else []) + [float(frame) for frame in frames], dtype=torch.float64)
    return CachedTokens(
        empty, empty, torch.arange(len(ids)), ids, torch.ones_like(ids), times, torch.zeros_like(ids).int()
    )


def test_the_heaviest_moment_comes_first_with_the_weight_of_its_neighbours() -> None:
    weights = torch.tensor([0.0, 0.0, 0.1, 0.5, 0.1, 0.3])
    moments = evidence.find_moments([(tokens([0, 10, 19, 20, 21, 40]), weights)])
    assert [moment.frame for moment in moments] == [20, 40]
    assert moments[0].time_s == 20.0
    assert abs(moments[0].weight - 0.7) < 1e-6


def test_the_weights_of_layers_with_different_tokens_add_up() -> None:
    first = (tokens([0, 30]), torch.tensor([0.4, 0.3]))
    second = (tokens([30]), torch.tensor([0.3]))
    moments = evidence.find_moments([first, second])
    assert [moment.frame for moment in moments] == [30, 0]


def test_a_second_moment_needs_a_larger_share_than_the_first() -> None:
    apart = [0, 10, 20, 30, 40, 50]
    moments = evidence.find_moments([(tokens(apart), torch.tensor([0.22, 0.21, 0.2, 0.2, 0.1, 0.07]))])
    assert [moment.frame for moment in moments] == [0]


def test_summary_tokens_belong_to_no_moment() -> None:
    moments = evidence.find_moments([(tokens([5], summary_first=True), torch.tensor([0.9, 0.1]))])
    assert [(moment.frame, moment.weight) for moment in moments] == [(5, 1.0)]


def test_evenly_spread_attention_is_no_evidence() -> None:
    frames = list(range(0, 300, 10))
    assert evidence.find_moments([(tokens(frames), torch.ones(30) / 30)]) == []


def test_an_empty_memory_gives_no_evidence() -> None:
    assert evidence.find_moments([(tokens([]), torch.zeros(0))]) == []


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=30))
def test_at_most_three_moments_are_found_and_they_are_apart(weights: list[float]) -> None:
    moments = evidence.find_moments([(tokens(list(range(len(weights)))), torch.tensor(weights))])
    assert len(moments) <= MAX_MOMENTS
    assert sum(moment.weight for moment in moments) <= 1 + 1e-6
    times = [moment.time_s for moment in moments]
    assert all(abs(left - right) > SAME_MOMENT_S for left in times for right in times if left != right)


def test_the_attention_of_all_layers_comes_to_the_host_in_one_transfer() -> None:
    layers = [(tokens(list(range(30))).map(lambda tensor, _: tensor.to(META)), torch.rand(30).to(META))] * 6

    with HostReads() as reads:
        evidence.find_moments(layers)

    assert reads.num_reads == 1
