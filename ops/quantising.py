"""Symmetric int8 quantisation: one byte a number, one step a row."""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 127


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as int8, and its step in float32: largest magnitude / 127. [..., D] -> [..., D], [...]

    A dequantised value is within half a step and the rounding of its dtype. A value that is not finite spoils its row.
    """
    exact = rows.float()
    # Subnormal steps lose precision, and a row of zeros needs a step above 0.
    steps = exact.abs().amax(dim=-1).div_(_LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
    return (exact / steps[..., None]).round_().to(torch.int8), steps


def dequantise(levels: Tensor, steps: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows of these levels and steps, contiguous. [..., D] int8, [...] float32 -> [..., D]"""
    # In float32 a product may exceed the largest number of the dtype by a rounding.
    largest = torch.finfo(dtype).max
    return (levels * steps[..., None]).clamp_(-largest, largest).to(dtype)
