"""Rows of numbers in a byte each: symmetric int8, one step a row."""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 127


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as int8 and its step in float32, the 127th part of its largest magnitude. [..., D] -> [..., D], [...]

    A value comes back within half a step, the rounding of its dtype aside; one that is not finite spoils its row.
    """
    exact = rows.float()
    # Smaller steps lose their own digits; and zeros need one too.
    steps = exact.abs().amax(dim=-1).div_(_LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
    return (exact / steps[..., None]).round_().to(torch.int8), steps


def dequantise(levels: Tensor, steps: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows that these stand for, contiguous. [..., D] int8, [...] float32 -> [..., D]"""
    # In float32 the largest rows of a dtype may come out a hair above what it can hold.
    largest = torch.finfo(dtype).max
    return (levels * steps[..., None]).clamp_(-largest, largest).to(dtype)
