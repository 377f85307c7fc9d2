"""Attention blended with recency (HERMES, section 3.2)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import scores

finite = st.lists(st.integers(0, 1_000).map(lambda value: value / 1_000), min_size=1, max_size=40)


def test_recency_of_five_tokens() -> None:
    newest_first = scores.min_max(scores.recency(5, 20.0))
    assert torch.allclose(newest_first, torch.tensor([0.0, 0.0, 4.5e-5, 6.74e-3, 1.0]), atol=1e-5)


@pytest.mark.parametrize("num_tokens", [1, 2, 5])
def test_without_decay_recency_is_constant(num_tokens: int) -> None:
    assert torch.equal(scores.min_max(scores.recency(num_tokens, 0.0)), torch.zeros(num_tokens))


def test_constant_scores_are_scaled_to_zeros() -> None:
    assert torch.equal(scores.min_max(torch.full((7,), 0.3)), torch.zeros(7))


@given(finite, st.floats(0, 1), st.integers(0, 20).map(float))
def test_blend_equals_the_plain_formula(attention: list[float], share: float, decay: float) -> None:
    def scaled(values: list[float]) -> list[float]:
        low, high = min(values), max(values)
        return [(value - low) / (high - low + 1e-6) for value in values]

    count = len(attention)
    ages = [math.exp(-decay * (count - 1 - rank) / max(count - 1, 1)) for rank in range(count)]
    expected = [
        (1 - share) * weight + share * recent for weight, recent in zip(scaled(attention), scaled(ages), strict=True)
    ]
    blended = scores.blend(torch.tensor(attention), share, decay)
    assert torch.allclose(blended, torch.tensor(expected), atol=1e-4)


def test_recency_alone_orders_every_token_even_far_back() -> None:
    """In bfloat16 old neighbours would tie, and a tie keeps the wrong token."""
    newest_first = scores.recency(100, 20.0)
    assert bool((newest_first.diff() > 0).all())
