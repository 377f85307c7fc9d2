"""Smoothing from deep layers to shallow, token by token (HERMES, section 3.3)."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import smoothing


def plain(scores: list[dict[int, float]], shares: list[float]) -> list[dict[int, float]]:
    """The reference: dictionaries by token id."""
    smoothed = [scores[-1]]
    for layer in range(len(scores) - 2, -1, -1):
        deeper, share = smoothed[0], shares[layer]
        smoothed.insert(
            0,
            {token: (1 - share) * own + share * deeper.get(token, own) for token, own in scores[layer].items()},
        )
    return smoothed


layers = st.lists(st.dictionaries(st.integers(-3, 12), st.floats(0, 1, width=32), max_size=8), min_size=1, max_size=4)


def as_tensors(layer: dict[int, float]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(list(layer.values())), torch.tensor(list(layer), dtype=torch.int64)


@given(layers, st.floats(0, 1))
def test_it_equals_the_plain_reference_in_any_order_of_tokens(layers: list[dict[int, float]], share: float) -> None:
    shares = [share] * len(layers)
    tensors = [as_tensors(layer) for layer in layers]
    smoothed = smoothing.smooth([scores for scores, _ in tensors], [ids for _, ids in tensors], shares)
    for (_, ids), found, expected in zip(tensors, smoothed, plain(layers, shares), strict=True):
        assert torch.allclose(found, torch.tensor([expected[token] for token in ids.tolist()]), atol=1e-6)


def test_three_deep_layers_with_one_hot_scores() -> None:
    """Recursive, not one step: the shallowest layer takes over a share of the deepest."""
    ids = [torch.arange(3)] * 3
    smoothed = smoothing.smooth(list(torch.eye(3)), ids, [0.4, 0.4, 0.4])
    assert torch.allclose(smoothed[2], torch.tensor([0.0, 0.0, 1.0]))
    assert torch.allclose(smoothed[1], torch.tensor([0.0, 0.6, 0.4]))
    assert torch.allclose(smoothed[0], torch.tensor([0.6, 0.24, 0.16]))


def test_a_token_that_the_deeper_layer_evicted_keeps_its_own_score() -> None:
    smoothed = smoothing.smooth(
        [torch.tensor([0.5, 0.7]), torch.tensor([1.0])], [torch.tensor([4, 5]), torch.tensor([5])], [0.5, 0.5]
    )
    assert torch.allclose(smoothed[0], torch.tensor([0.5, 0.85]))
