"""The highest scores are kept, in order of time."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import retention

scores_and_budget = st.tuples(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=30), st.integers(0, 35))


@given(scores_and_budget)
def test_the_highest_scores_are_kept_and_of_equal_ones_the_newer(drawn: tuple[list[float], int]) -> None:
    scores, budget = drawn
    best = sorted(range(len(scores)), key=lambda place: (scores[place], place), reverse=True)[:budget]
    assert retention.keep_top(torch.tensor(scores), budget).tolist() == sorted(best)


@given(scores_and_budget)
def test_kept_and_evicted_are_all_tokens(drawn: tuple[list[float], int]) -> None:
    scores, budget = drawn
    kept = retention.keep_top(torch.tensor(scores), budget)
    evicted = retention.evicted(kept, len(scores))
    assert sorted(kept.tolist() + evicted.tolist()) == list(range(len(scores)))
    assert evicted.tolist() == sorted(evicted.tolist())


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.integers(1, 30))
def test_keeping_again_changes_nothing(values: list[float], budget: int) -> None:
    scores = torch.tensor(values)
    once = scores[retention.keep_top(scores, budget)]
    assert torch.equal(once[retention.keep_top(once, budget)], once)
