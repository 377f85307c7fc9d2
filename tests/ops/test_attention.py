"""Attention over memories of unequal length with summary tokens."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ops import attention

sizes = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 4), st.integers(0, 2**31))


def plain_weights(
    query: torch.Tensor, keys: torch.Tensor, counts: list[int], length: int, row: int
) -> list[list[float]]:
    """Softmax by hand, one head at a time: the weights of new token `row`. -> [Hq][N]"""
    heads_per_kv = query.shape[0] // keys.shape[0]
    weights = []
    for head in range(query.shape[0]):
        logits = [
            (float(query[head, row] @ keys[head // heads_per_kv, index] * 0.5), counts[index] if index < length else 1)
            for index in range(length + row + 1)
        ]
        drawn = [count * torch.tensor(logit).exp().item() for logit, count in logits]
        rest = [0.0] * (keys.shape[1] - len(logits))
        weights.append([part / sum(drawn) for part in drawn] + rest)
    return weights


@given(sizes)
def test_two_unequal_memories_equal_the_plain_softmax(drawn: tuple[int, int, int, int]) -> None:
    first, second, num_new, seed = drawn
    generator = torch.Generator().manual_seed(seed)
    lengths, num_entries = [first, second], max(first, second) + num_new
    query = torch.randn(2, 4, num_new, 8, generator=generator)
    keys, values = (torch.randn(2, 2, num_entries, 8, generator=generator) for _ in range(2))
    counts = torch.randint(1, 50, (2, num_entries), generator=generator)
    causal = torch.ones(num_new, num_new, dtype=torch.bool).tril()

    bias = attention.attention_bias(counts, torch.tensor(lengths), causal)
    output = attention.attend(query, keys, values, bias, 0.5)

    for row in range(2):
        for new in range(num_new):
            weights = torch.tensor(plain_weights(query[row], keys[row], counts[row].tolist(), lengths[row], new))
            expected = torch.einsum("hn,hnd->hd", weights, values[row].repeat_interleave(2, dim=0))
            assert torch.allclose(output[row, :, new], expected, atol=1e-4)


def test_a_summary_of_n_equal_tokens_weighs_like_the_n() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(1, 1, 1, 8, generator=generator), torch.randn(1, 1, 1, 8, generator=generator)
    other, own = torch.randn(1, 1, 1, 8, generator=generator), torch.randn(1, 1, 1, 8, generator=generator)
    one = torch.ones(1, 1, dtype=torch.bool)

    many = torch.cat((key.expand(1, 1, 5, 8), other, own), dim=2)
    folded = torch.cat((key, other, own), dim=2)
    spread = attention.attention_bias(torch.ones(1, 7, dtype=torch.int64), torch.tensor([6]), one)
    counted = attention.attention_bias(torch.tensor([[5, 1, 1]]), torch.tensor([2]), one)

    assert torch.allclose(
        attention.attend(query, many, many, spread, 0.3),
        attention.attend(query, folded, folded, counted, 0.3),
        atol=1e-6,
    )


def test_a_peak_is_the_most_of_any_token_and_a_mean_counts_them_all() -> None:
    """Heads are averaged before the peak: one head alone does not decide."""
    weights = torch.tensor([[[0.8, 0.1], [0.0, 0.4]], [[0.2, 0.3], [0.0, 0.8]]])  # 2 heads, 2 tokens, 2 cached tokens

    assert torch.allclose(attention.peak_weight(weights), torch.tensor([0.5, 0.6]))
    assert torch.allclose(attention.mean_weight(weights), torch.tensor([0.25, 0.4]))
