"""Quantised rows are dequantised within half a scale, whatever their size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import quantising

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@st.composite
def rows_of(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES) -> torch.Tensor:
    """Rows of every magnitude that their dtype has, some of them zero. [H, N, D]"""
    dtype = draw(st.sampled_from(dtypes))
    heads, tokens, channels = draw(st.integers(1, 3)), draw(st.integers(0, 5)), draw(st.integers(1, 33))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kind = torch.finfo(dtype)
    smallest, largest = torch.tensor([kind.tiny, kind.max], dtype=torch.float64).log2()
    exponents = smallest + (largest - smallest) * torch.rand(heads, tokens, 1, generator=generator).double()
    signs = 2 * torch.rand(heads, tokens, channels, generator=generator).double() - 1
    rows = (signs * 2**exponents).to(dtype)
    rows[torch.rand(heads, tokens, generator=generator) < 0.2] = 0
    return rows


@given(rows_of())
def test_a_dequantised_value_is_within_half_a_scale_and_the_rounding_of_its_dtype(rows: torch.Tensor) -> None:
    levels, scales = quantising.quantise(rows)
    back = quantising.dequantise(levels, scales, rows.dtype)
    assert back.shape == rows.shape
    assert back.dtype == rows.dtype
    assert levels.dtype == torch.int8
    assert levels.nbytes == rows.numel()
    largest = rows.double().abs().amax(dim=-1, keepdim=True)
    rounding = largest * torch.finfo(rows.dtype).eps + torch.finfo(rows.dtype).tiny
    half_a_scale = scales.double()[..., None] / 2
    assert bool(((back.double() - rows.double()).abs() <= half_a_scale * (1 + 1e-6) + rounding).all())
    assert bool((half_a_scale <= largest / 127 / 2 * (1 + 1 / 256) + torch.finfo(torch.bfloat16).tiny).all())


@given(rows_of())
def test_each_row_has_a_scale_of_its_own(rows: torch.Tensor) -> None:
    """A large row does not coarsen the one beside it."""
    levels, scales = quantising.quantise(rows)
    assert scales.shape == rows.shape[:-1]
    assert scales.dtype == torch.bfloat16
    for head, token in torch.cartesian_prod(*map(torch.arange, rows.shape[:-1])).tolist():
        alone, scale = quantising.quantise(rows[head, token])
        assert torch.equal(alone, levels[head, token])
        assert torch.equal(scale, scales[head, token])


@given(rows_of())
def test_dequantised_rows_quantise_to_the_same_rows_or_their_neighbours(rows: torch.Tensor) -> None:
    """A memory that is saved and restored again and again does not fade, but for the rounding of its dtype."""
    levels, scales = quantising.quantise(rows)
    again, _ = quantising.quantise(quantising.dequantise(levels, scales, rows.dtype))
    assert bool(((again.int() - levels.int()).abs() <= 1).all())
    levels_of_exact, scales_of_exact = quantising.quantise(quantising.dequantise(levels, scales, torch.float32))
    assert torch.equal(levels_of_exact, levels)
    assert torch.equal(scales_of_exact, scales)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_and_smallest_numbers_and_zero_are_dequantised(dtype: torch.dtype) -> None:
    kind = torch.finfo(dtype)
    rows = torch.tensor([[kind.max, -kind.max], [kind.tiny, -kind.tiny], [0.0, -0.0]], dtype=dtype)
    back = quantising.dequantise(*quantising.quantise(rows), dtype)
    assert torch.allclose(back.double(), rows.double(), rtol=1 / 254 + 2 * kind.eps, atol=0)


@given(rows_of())
def test_views_with_gaps_are_the_same_as_their_copies(rows: torch.Tensor) -> None:
    for view in (rows[:, ::2], rows.transpose(0, 1), rows[..., 1:]) if rows.shape[-1] > 1 else (rows[:, ::2],):
        levels, scales = quantising.quantise(view)
        expected_levels, expected_scales = quantising.quantise(view.contiguous())
        assert torch.equal(levels, expected_levels)
        assert torch.equal(scales, expected_scales)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_spoils_its_own_row_alone(wrong: float) -> None:
    rows = torch.tensor([[1.0, wrong], [1.0, -1.0]])
    back = quantising.dequantise(*quantising.quantise(rows), torch.float32)
    assert bool(back[0].isnan().all())
    assert torch.allclose(back[1], rows[1], rtol=1 / 254)


@given(rows_of())
def test_a_row_and_its_scale_are_joined_and_split_without_loss(rows: torch.Tensor) -> None:
    if rows.shape[-1] % 2:  # as heads never are: a scale lies at an even byte
        return
    levels, scales = quantising.quantise(rows)
    joined = quantising.convert(rows, torch.int8)
    assert joined.shape == (*rows.shape[:-1], quantising.width(rows.shape[-1], torch.int8))
    again_levels, again_scales = quantising.split(joined)
    assert torch.equal(again_levels, levels)
    assert torch.equal(again_scales, scales)
    assert torch.equal(quantising.convert(joined, rows.dtype), quantising.dequantise(levels, scales, rows.dtype))
    assert quantising.convert(joined, torch.int8) is joined
