"""Attention by torch's fused kernels, with the logarithm of what each row's exponentials sum up to."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

Attended = tuple[Tensor, Tensor]  # the values, and the logarithm of what each row's exponentials sum up to
ALIGNED = 8  # numbers of 16 bits in 16 bytes
_FLASH_DTYPES = (torch.float16, torch.bfloat16)
_FLASH_WIDTH = 256  # of a head, at most
_FIRST_WITH_FLASH = (8, 0)  # Ampere

_aten = torch.ops.aten
_ON_CPU = _aten._scaled_dot_product_flash_attention_for_cpu.default
_FLASH = _aten._scaled_dot_product_flash_attention.default
_EFFICIENT = _aten._scaled_dot_product_efficient_attention.default


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scaling: float,
    *,
    bias: Tensor | None = None,
    is_causal: bool = False,
) -> Attended:
    """Grouped-query attention. [B, Hq, T, D], [B, H, N, D] twice, [B, 1, 1 or T, N] -> [B, Hq, T, D], [B, Hq, T]

    bias: added to the logits, in their number type.
    """
    if is_on_cpu(queries):
        attended, normalizer = _ON_CPU(queries, keys, values, 0.0, is_causal, attn_mask=bias, scale=scaling)
        return attended, normalizer
    if bias is None and _has_flash(queries):
        # About twice as fast. It reads grouped heads in place, and divides the keys of few rows among blocks.
        attended, normalizer, *_ = _FLASH(queries, keys, values, 0.0, is_causal, False, scale=scaling)
    else:
        attended, normalizer = _efficient(queries, keys, values, scaling, bias, is_causal)
    return attended, normalizer[..., : queries.shape[2]]


def is_on_cpu(tensor: Tensor) -> bool:
    """Whether the kernels of a CPU read it."""
    return tensor.device.type == "cpu"


def _has_flash(queries: Tensor) -> bool:
    takes_numbers = queries.dtype in _FLASH_DTYPES and queries.shape[-1] <= _FLASH_WIDTH
    return takes_numbers and (not queries.is_cuda or _capability(queries.device) >= _FIRST_WITH_FLASH)


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _efficient(
    queries: Tensor, keys: Tensor, values: Tensor, scaling: float, bias: Tensor | None, is_causal: bool
) -> Attended:
    """By the one kernel for all number types, which knows neither grouped heads nor a bias of one row.

    Its normalizer has places behind the rows, up to a multiple of 32.
    """
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:  # it copies them even where each is there once
        keys, values = (tensor.repeat_interleave(groups, dim=1) for tensor in (keys, values))
    if bias is not None:  # each row of it must begin at a multiple of 16 bytes
        width = bias.shape[-1]
        if any(stride % ALIGNED for stride in bias.stride()[:-1]):
            bias = functional.pad(bias, (0, -width % ALIGNED))[..., :width]
        bias = bias.expand(*queries.shape[:3], -1)
    attended, normalizer, *_ = _EFFICIENT(queries, keys, values, bias, True, 0.0, is_causal, scale=scaling)
    return attended, normalizer
