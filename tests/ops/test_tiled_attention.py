"""Attention tile by tile against the softmax over all tokens at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ops import attention, tiled_attention

NUM_TOKENS = 1_100  # three tiles, the last not full


def drawn(num_rows: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows, keys, values, and a bias. [2, 3, R, 8], [2, 3, N, 8] twice, [1, 1, 1, N]"""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 3, num_rows, 8, generator=generator)
    keys, values = (torch.randn(2, 3, NUM_TOKENS, 8, generator=generator) for _ in range(2))
    return rows, keys, values, torch.randn(1, 1, 1, NUM_TOKENS, generator=generator)


def plain(rows: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Attended, normalizer, weights, in float64."""
    logits = rows.double() @ keys.double().mT + (0 if bias is None else bias.double())
    weights = logits.softmax(dim=-1)
    return weights @ values.double(), logits.logsumexp(dim=-1), weights


def assert_is_plain(rows: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> None:
    expected, normalizer, weights = plain(rows, keys, values, bias)
    for attended, sums in (
        tiled_attention.attend(rows, keys, values, bias),
        ((found := tiled_attention.exponentials(rows, keys, values, bias)).attended, found.normalizer),
    ):
        assert torch.allclose(attended.double(), expected, atol=1e-4)
        assert torch.allclose(sums.double(), normalizer, rtol=1e-5, atol=1e-4)
    found_weights = found.reduced(found.normalizer, lambda part: part)
    assert torch.allclose(found_weights.double(), weights, atol=1e-4)


@pytest.mark.parametrize("has_bias", [False, True])
def test_tiles_together_are_the_softmax_over_all_tokens(has_bias: bool) -> None:
    rows, keys, values, bias = drawn()

    assert_is_plain(rows, keys, values, bias if has_bias else None)


@pytest.mark.parametrize("place", [0, 700, NUM_TOKENS - 1])
@pytest.mark.parametrize("factor", [300.0, -300.0])
def test_no_logit_is_too_large_or_too_small(place: int, factor: float) -> None:
    """In any tile, where exp() of it, or of its distance to all others, is no float32 any more."""
    rows, keys, values, bias = drawn()
    keys[:, :, place] *= factor

    assert_is_plain(rows, keys, values, bias)


@pytest.mark.parametrize("distance", [86.0, 88.0, 88.6, 89.0])
def test_values_do_not_overflow_where_their_weights_do_not(distance: float) -> None:
    """exp(88) is a float32, and 100 times that is none."""
    rows, keys, values, _ = drawn()
    rows = rows.abs()
    keys[:, :, 700] = 0.0
    keys[:, :, 700, 0] = 1.0
    rows[..., 0] = distance
    keys[:, :, :700, 0] = 0.0
    keys[:, :, 701:, 0] = 0.0

    assert_is_plain(rows, keys, 100 * values, None)


def test_many_rows_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, keys, values, bias = drawn(num_rows=50)
    expected = tiled_attention.attend(rows, keys, values, bias)
    monkeypatch.setattr(tiled_attention, "_LOGITS_AT_ONCE", 7 * 6 * 512)

    found = tiled_attention.attend(rows, keys, values, bias)

    assert all(torch.allclose(mine, theirs, atol=1e-5) for mine, theirs in zip(found, expected, strict=True))


def test_in_bfloat16_the_tokens_that_score_highest_are_those_of_float32() -> None:
    """But for a few at the border, whose scores differ by less than bfloat16 can tell."""
    generator = torch.Generator().manual_seed(1)
    queries = 3 * torch.randn(1, 4, 20, 64, generator=generator)
    keys, values = (torch.randn(1, 2, width, 64, generator=generator).bfloat16() for width in (1_100, 1_100))
    own = [torch.randn(1, 2, 20, 64, generator=generator).bfloat16() for _ in range(2)]
    kept: list[set[int]] = []
    for dtype in (torch.bfloat16, torch.float32):
        new = attention.New(queries.bfloat16().to(dtype), own[0].to(dtype), own[1].to(dtype))
        cached = attention.Cached(keys.to(dtype), values.to(dtype))
        _, scores = attention.attend_and_reduce(new, cached, 0.125, slice(0, 20), attention.peak_weight)
        kept.append(set(scores[0].topk(800).indices.tolist()))

    assert len(kept[0] & kept[1]) >= 0.98 * 800
