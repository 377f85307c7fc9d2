"""Many tokens folded into one (HERMES, section 3.2, with counts)."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import folding, rope
from tests.conftest import rope_frequencies

FREQUENCY = rope_frequencies(32, 10_000.0)


def random_tokens(num_tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys, values = (torch.randn(2, num_tokens, 32, generator=generator) for _ in range(2))
    return keys, values, torch.arange(num_tokens) * 3


def moved(keys: torch.Tensor, positions: torch.Tensor, position: int) -> torch.Tensor:
    return rope.rotate(keys, position - positions, FREQUENCY)


def test_the_value_is_the_mean_and_the_key_the_mean_of_the_rotated_keys() -> None:
    keys, values, positions = random_tokens(4, seed=0)
    folded = folding.fold(moved(keys, positions, 5), values, torch.ones(4))
    rotated = torch.stack([rope.rotate(keys[:, [i]], 5 - positions[[i]], FREQUENCY)[:, 0] for i in range(4)])
    assert torch.allclose(folded.value, values.mean(dim=1), atol=1e-6)
    assert torch.allclose(folded.key, rotated.mean(dim=0), atol=1e-5)


def test_tokens_with_one_raw_key_fold_to_that_key_at_the_new_position() -> None:
    raw = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(1)).expand(2, 6, 32)
    positions = torch.tensor([1, 2, 5, 7, 40, 900])
    folded = folding.fold(moved(rope.rotate(raw, positions, FREQUENCY), positions, 5), raw, torch.ones(6))
    assert torch.allclose(folded.key, rope.rotate(raw[:, :1], torch.tensor([5]), FREQUENCY)[:, 0], atol=1e-4)


@given(st.integers(2, 12), st.integers(1, 11), st.integers(0, 2**31))
def test_folding_twice_equals_folding_once_over_the_union(num_tokens: int, cut: int, seed: int) -> None:
    cut = min(cut, num_tokens - 1)
    keys, values, positions = random_tokens(num_tokens, seed)
    ones = torch.ones(num_tokens)
    once = folding.fold(moved(keys, positions, 7), values, ones)
    first = folding.fold(moved(keys[:, :cut], positions[:cut], 3), values[:, :cut], ones[:cut])
    rest = torch.cat((first.key[:, None], keys[:, cut:]), dim=1)
    twice = folding.fold(
        moved(rest, torch.cat((torch.tensor([3]), positions[cut:])), 7),
        torch.cat((first.value[:, None], values[:, cut:]), dim=1),
        torch.cat((torch.tensor([float(cut)]), ones[cut:])),
    )
    assert torch.allclose(once.key, twice.key, atol=1e-4)
    assert torch.allclose(once.value, twice.value, atol=1e-5)
