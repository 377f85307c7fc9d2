"""The kernels of a GPU, by hand on the CPU, give what the CPU's own kernel gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ops import attention, fused_attention
from ops.attention import Cached
from tests import gpu_kernels

SCALING = 0.5


def drawn(num_rows: int, num_keys: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of two memories: six query heads over two key heads, keys and values in slots with room behind them."""
    generator = torch.Generator().manual_seed(num_rows * num_keys)
    queries = torch.randn(2, num_rows, 6, 16, generator=generator).to(dtype).transpose(1, 2)
    slots = (torch.randn(2, 2, num_keys + 5, 16, generator=generator).to(dtype) for _ in range(2))
    keys, values = (slot[:, :, :num_keys] for slot in slots)
    return queries, keys, values


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("num_rows", "num_keys"), [(1, 7), (9, 9), (33, 40)])
@pytest.mark.parametrize("mask", ["none", "causal", "of each row", "of all rows"])
def test_a_gpu_s_kernels_find_what_the_cpu_s_does(num_rows: int, num_keys: int, mask: str, dtype: torch.dtype) -> None:
    """Bias rows of a length that no kernel takes, grouped heads, rows that lie apart."""
    num_keys = num_rows if mask == "causal" else num_keys
    queries, keys, values = drawn(num_rows, num_keys, dtype)
    sizes = {"of each row": (1, 1, num_rows, num_keys), "of all rows": (2, 1, 1, num_keys)}
    bias = torch.randn(sizes[mask]).to(dtype) if mask in sizes else None

    expected = fused_attention.attend(queries, keys, values, SCALING, bias=bias, is_causal=mask == "causal")
    with gpu_kernels.on_cpu() as called:
        found = fused_attention.attend(queries, keys, values, SCALING, bias=bias, is_causal=mask == "causal")

    assert called == ["flash" if bias is None and dtype is torch.bfloat16 else "efficient"]
    tolerance = 1e-5 if dtype is torch.float32 else 3e-2
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == other.dtype
        assert torch.allclose(mine, other, atol=tolerance)


@pytest.mark.parametrize("width", [16, 12, 264])
def test_a_head_that_the_fast_kernel_does_not_take_is_read_by_the_other_one(width: int) -> None:
    """16 is one that it takes; 12 is aligned in float32 alone."""
    queries, keys, values = (torch.randn(1, 1, 3, width) for _ in range(3))
    dtype = torch.float32 if width == 12 else torch.bfloat16

    with gpu_kernels.on_cpu() as called:
        fused_attention.attend(queries.to(dtype), keys.to(dtype), values.to(dtype), SCALING)

    assert called == ["flash" if width == 16 else "efficient"]


@pytest.mark.parametrize("logits_on_gpu", [1, 1 << 24])
def test_weights_are_the_same_in_whatever_parts_a_gpu_computes_them(
    monkeypatch: pytest.MonkeyPatch, logits_on_gpu: int
) -> None:
    queries, keys, values = drawn(40, 1_100, torch.float32)
    cached = Cached(keys, values)
    normalizer = fused_attention.attend(queries, keys, values, SCALING)[1]
    expected = attention.reduced_weights(queries, cached, normalizer, SCALING, attention.peak_weight)
    sizes: list[int] = []

    def reduce(weights: Tensor) -> Tensor:
        sizes.append(weights.shape[-1])
        return attention.peak_weight(weights)

    monkeypatch.setattr(attention, "_LOGITS_ON_GPU", logits_on_gpu)
    with gpu_kernels.on_cpu():
        found = attention.reduced_weights(queries, cached, normalizer, SCALING, reduce)

    assert sizes == ([512, 512, 76] if logits_on_gpu == 1 else [1_100])
    assert torch.allclose(found, expected, atol=1e-6)
