"""torch's attention kernels of a GPU, computed by hand on the CPU: they refuse what the real ones refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from ops import fused_attention

_LSE_ALIGNED = 32  # rows, in the normalizer of the efficient kernel


@contextmanager
def on_cpu() -> Iterator[list[str]]:
    """Meanwhile attention takes the way that it takes on a GPU. The kernels that were called."""
    called: list[str] = []

    def efficient(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *rest: Any, scale: float) -> Any:
        called.append("efficient")
        assert rest[:2] == (True, 0.0), rest
        return _efficient(queries, keys, values, bias, is_causal=rest[2], scale=scale)

    def flash(queries: Tensor, keys: Tensor, values: Tensor, *rest: Any, scale: float) -> Any:
        called.append("flash")
        assert (rest[0], rest[2]) == (0.0, False), rest
        return _flash(queries, keys, values, is_causal=rest[1], scale=scale)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fused_attention, "is_on_cpu", lambda _: False)
        patched.setattr(fused_attention, "_EFFICIENT", efficient)
        patched.setattr(fused_attention, "_FLASH", flash)
        yield called


def _efficient(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, is_causal: bool, scale: float
) -> tuple[Tensor, Tensor, None, None]:
    rows, heads = queries.shape[2], queries.shape[1]
    assert heads == keys.shape[1] == values.shape[1], "it knows no grouped heads"
    for tensor in (queries, keys, values):
        _check_aligned(tensor)
    if bias is not None:
        assert bias.dtype == queries.dtype, (bias.dtype, queries.dtype)
        assert bias.shape == (*queries.shape[:3], keys.shape[2]), bias.shape
        _check_aligned(bias, has_width=False)
        _check_readable_to_a_multiple(bias)
    attended, normalizer = _attention(queries, keys, values, bias, is_causal, scale)
    padded = torch.full((*normalizer.shape[:2], -(-rows // _LSE_ALIGNED) * _LSE_ALIGNED), torch.inf)
    padded[..., :rows] = normalizer
    return attended, padded, None, None


def _flash(
    queries: Tensor, keys: Tensor, values: Tensor, *, is_causal: bool, scale: float
) -> tuple[Tensor, Tensor, None, None]:
    assert queries.dtype in (torch.float16, torch.bfloat16), queries.dtype
    assert queries.shape[3] <= 256, queries.shape
    assert not is_causal or queries.shape[2] == keys.shape[2], "its causal mask begins at the end"
    for tensor in (queries, keys, values):
        _check_aligned(tensor)
    groups = queries.shape[1] // keys.shape[1]
    keys, values = (tensor.repeat_interleave(groups, dim=1) for tensor in (keys, values))
    attended, normalizer = _attention(queries, keys, values, None, is_causal, scale)
    return attended, normalizer, None, None


def _check_aligned(tensor: Tensor, *, has_width: bool = True) -> None:
    """Every row begins at a multiple of 16 bytes, and its numbers follow each other."""
    numbers = 16 // tensor.element_size()
    assert tensor.stride(-1) == 1, tensor.stride()
    assert all(stride % numbers == 0 for stride in tensor.stride()[:-1]), (tensor.shape, tensor.stride())
    assert tensor.data_ptr() % 16 == 0, "the first row is not aligned"
    assert not has_width or tensor.shape[-1] % numbers == 0, tensor.shape
    assert tensor.numel(), tensor.shape


def _check_readable_to_a_multiple(bias: Tensor) -> None:
    """The last row is read in steps of 16 bytes, its last numbers too."""
    numbers = 16 // bias.element_size()
    last_row = sum((size - 1) * stride for size, stride in zip(bias.shape[:-1], bias.stride(), strict=False))
    end = bias.storage_offset() + last_row + -(-bias.shape[-1] // numbers) * numbers
    assert end * bias.element_size() <= bias.untyped_storage().nbytes(), (bias.shape, bias.stride())


def _attention(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, is_causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """In float64; laid out as the kernels do it, a token's heads beside each other."""
    logits = queries.double() @ keys.double().mT * scale
    if bias is not None:
        logits = logits + bias.double()
    if is_causal:
        logits = logits + torch.full(logits.shape[2:], -torch.inf, dtype=torch.float64).triu(1)
    attended = (logits.softmax(dim=-1) @ values.double()).to(queries.dtype)
    return attended.transpose(1, 2).contiguous().transpose(1, 2), logits.logsumexp(dim=-1).float()
