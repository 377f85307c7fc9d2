"""Attention of new tokens over cached ones, with summaries and packed texts, against the softmax by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ops import attention
from ops.attention import Cached, New

SCALING = 0.5


def drawn(seed: int, num_cached: int, num_new: int) -> tuple[New, Cached]:
    """Four query heads over two key heads, and counts up to 50."""
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(1, 4, num_new, 8, generator=generator)
    new = [torch.randn(1, 2, num_new, 8, generator=generator) for _ in range(2)]
    cached = [torch.randn(1, 2, num_cached, 8, generator=generator) for _ in range(2)]
    counts = torch.randint(1, 50, (num_cached,), generator=generator)
    return New(queries, new[0], new[1]), Cached(cached[0], cached[1], counts)


def plain_weights(new: New, cached: Cached, token: int, first: int = 0) -> Tensor:
    """The softmax of a new token, one head at a time, over the cached ones and the new ones from `first` to itself.

    -> [Hq, N + T]
    """
    heads, num_cached, num_new = new.queries.shape[1], cached.keys.shape[2], new.keys.shape[2]
    counts = cached.counts.tolist() if cached.counts is not None else [1] * num_cached
    weights = torch.zeros(heads, num_cached + num_new)
    for head in range(heads):
        query, keys = new.queries[0, head, token], torch.cat((cached.keys, new.keys), dim=2)[0, head // 2]
        for place, count in enumerate([*counts, *[1] * num_new]):
            if place < num_cached or first <= place - num_cached <= token:
                weights[head, place] = count * float((query @ keys[place] * SCALING).exp())
    return weights / weights.sum(dim=1, keepdim=True)


def plain_attention(new: New, cached: Cached, token: int, first: int = 0) -> Tensor:
    """-> [Hq, D]"""
    values = torch.cat((cached.values, new.values), dim=2)[0].repeat_interleave(2, dim=0)
    return torch.einsum("hn,hnd->hd", plain_weights(new, cached, token, first), values)


@given(st.integers(0, 9), st.integers(1, 5), st.booleans(), st.integers(0, 2**31))
def test_new_tokens_over_cached_ones_equal_the_plain_softmax(
    num_cached: int, num_new: int, has_summaries: bool, seed: int
) -> None:
    new, cached = drawn(seed, num_cached, num_new)
    cached = cached if has_summaries else Cached(cached.keys, cached.values)

    output, normalizer = attention.attend(new, cached, SCALING)
    weights = attention.reduced_weights(new.queries, cached, normalizer, SCALING, lambda weights: weights)[0]

    for token in range(num_new):
        assert torch.allclose(output[0, :, token], plain_attention(new, cached, token), atol=1e-4)
        assert torch.allclose(weights[:, token], plain_weights(new, cached, token)[:, :num_cached], atol=1e-5)


@given(st.integers(0, 9), st.integers(1, 5), st.booleans(), st.integers(0, 2**31))
def test_attention_and_its_weights_at_once_are_those_of_two_passes(
    num_cached: int, num_new: int, has_summaries: bool, seed: int
) -> None:
    new, cached = drawn(seed, num_cached, num_new)
    cached = cached if has_summaries else Cached(cached.keys, cached.values)

    output, normalizer = attention.attend(new, cached, SCALING)
    for rows in (slice(0, num_new), slice(1, None), slice(-1, None)):
        if not len(range(num_new)[rows]):
            continue
        expected = attention.reduced_weights(
            new.queries[:, :, rows], cached, normalizer[:, :, rows], SCALING, attention.peak_weight
        )
        for few_logits in (0, 1 << 18):  # in parts, and as one softmax
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(attention, "_FEW_LOGITS", few_logits)
                found, weights = attention.attend_and_reduce(new, cached, SCALING, rows, attention.peak_weight)
            assert torch.allclose(found[0], output, atol=1e-5)
            assert torch.allclose(found[1], normalizer, atol=1e-5)
            assert torch.allclose(weights, expected, atol=1e-6)


def test_few_packed_texts_over_a_memory_of_summaries_are_one_softmax() -> None:
    """The texts apart from each other, logits far beyond what exp() can hold, and each summary by its count."""
    texts = [3, 2]
    new, cached = drawn(1, 6, sum(texts))
    packed = New(60 * new.queries, new.keys, new.values, attention.text_mask(torch.arange(sum(texts)).split(texts)))
    output, normalizer = attention.attend(packed, cached, SCALING)

    found, weights = attention.attend_and_reduce(packed, cached, SCALING, slice(0, 5), lambda weights: weights)

    expected = attention.reduced_weights(packed.queries, cached, normalizer, SCALING, lambda weights: weights)
    assert float(normalizer.max()) > 100
    assert torch.allclose(found[0], output, atol=1e-4)
    assert torch.allclose(found[1], normalizer, rtol=1e-5)
    assert torch.allclose(weights, expected, atol=1e-4)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 9), st.integers(0, 2**31))
def test_packed_texts_do_not_see_each_other(texts: list[int], num_cached: int, seed: int) -> None:
    new, cached = drawn(seed, num_cached, sum(texts))
    places = torch.arange(sum(texts)).split(texts)
    packed = New(new.queries, new.keys, new.values, attention.text_mask(places))

    output, _ = attention.attend(packed, cached, SCALING)

    for text, length in enumerate(texts):
        first = sum(texts[:text])
        for token in range(first, first + length):
            assert torch.allclose(output[0, :, token], plain_attention(new, cached, token, first), atol=1e-4)


def test_texts_that_begin_with_the_same_tokens_see_those_and_their_own() -> None:
    texts = [torch.tensor(places) for places in ([0, 1, 2], [0, 1, 3], [0, 4])]

    is_seen = attention.text_mask(texts)[0, 0] == 0

    seen = [row.nonzero()[:, 0].tolist() for row in is_seen]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 4]]


def test_a_summary_of_n_equal_tokens_weighs_like_the_n() -> None:
    new, cached = drawn(0, 3, 2)
    counted = Cached(cached.keys, cached.values, torch.tensor([5, 1, 1]))
    places = torch.tensor([0, 0, 0, 0, 0, 1, 2])
    repeated = Cached(cached.keys[:, :, places], cached.values[:, :, places])

    found, _ = attention.attend(new, counted, SCALING)
    expected, _ = attention.attend(new, repeated, SCALING)

    assert torch.allclose(found, expected, atol=1e-6)


def test_a_peak_is_the_most_of_any_token_and_a_mean_counts_them_all() -> None:
    """Heads are averaged before the peak: one head alone does not decide."""
    weights = torch.tensor([[[0.8, 0.1], [0.0, 0.4]], [[0.2, 0.3], [0.0, 0.8]]])  # 2 heads, 2 tokens, 2 cached tokens

    assert torch.allclose(attention.peak_weight(weights), torch.tensor([0.5, 0.6]))
    assert torch.allclose(attention.mean_weight(weights), torch.tensor([0.25, 0.4]))
