"""Keys rotated by a distance equal keys rotated to their new positions at once."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import rope
from tests.conftest import rope_frequencies

HEAD_DIM = 32
FREQUENCY = rope_frequencies(HEAD_DIM, 10_000.0)


def fresh(raw: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The plain reference: every pair of channels rotated by a 2 x 2 matrix, in float64."""
    turned = torch.empty_like(raw, dtype=torch.float64)
    half = raw.shape[-1] // 2
    for token, position in enumerate(positions.tolist()):
        for pair in range(half):
            angle = torch.tensor(position * 10_000.0 ** (-2 * pair / raw.shape[-1]), dtype=torch.float64)
            first, second = raw[..., token, pair].double(), raw[..., token, pair + half].double()
            turned[..., token, pair] = first * angle.cos() - second * angle.sin()
            turned[..., token, pair + half] = second * angle.cos() + first * angle.sin()
    return turned


@given(st.lists(st.integers(0, 4_000), min_size=1, max_size=6), st.integers(0, 2**31))
def test_a_rotation_equals_the_plain_one(positions: list[int], seed: int) -> None:
    raw = torch.randn(2, len(positions), HEAD_DIM, generator=torch.Generator().manual_seed(seed))
    moved = rope.rotate(raw, torch.tensor(positions), FREQUENCY)
    assert torch.allclose(moved.double(), fresh(raw, torch.tensor(positions)), atol=2e-3)


@given(st.integers(0, 30_000), st.integers(0, 30_000), st.integers(0, 2**31))
def test_a_moved_key_equals_one_rotated_there_at_once(old: int, new: int, seed: int) -> None:
    raw = torch.randn(2, 1, HEAD_DIM, generator=torch.Generator().manual_seed(seed))
    cached = rope.rotate(raw, torch.tensor([old]), FREQUENCY)
    moved = rope.rotate(cached, torch.tensor([new - old]), FREQUENCY)
    assert torch.allclose(moved, rope.rotate(raw, torch.tensor([new]), FREQUENCY), atol=1e-4)


@given(st.integers(-2_000, 2_000), st.integers(0, 2**31))
def test_a_common_shift_changes_no_attention_logit(shift: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, keys = torch.randn(1, 1, HEAD_DIM, generator=generator), torch.randn(1, 8, HEAD_DIM, generator=generator)
    everywhere = torch.full((8,), shift)
    logits = query @ keys.transpose(-1, -2)
    shifted = rope.rotate(query, everywhere[:1], FREQUENCY) @ rope.rotate(keys, everywhere, FREQUENCY).transpose(-1, -2)
    assert torch.allclose(logits, shifted, atol=1e-4)


@given(st.lists(st.integers(-300, 300), max_size=6), st.sampled_from([torch.float32, torch.bfloat16]))
def test_a_rotation_by_the_table_equals_one_without(distances: list[int], dtype: torch.dtype) -> None:
    keys = torch.randn(2, len(distances), HEAD_DIM, generator=torch.Generator().manual_seed(1)).to(dtype)
    distance = torch.tensor(distances, dtype=torch.int32)
    by_table = rope.rotate_by(rope.rotation_table(FREQUENCY, 300), keys, distance)
    assert by_table.dtype == dtype
    assert torch.allclose(
        by_table, rope.rotate(keys, distance, FREQUENCY), atol=1e-5 if dtype == torch.float32 else 0.02
    )
