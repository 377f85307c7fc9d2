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
    steps = exact.abs().amax(dim=-1) / _LEVELS
    # Smaller ones have no reciprocal in float32; that includes the step of a row of zeros.
    steps = steps.clamp(min=torch.finfo(torch.float32).tiny)
    levels = (exact / steps[..., None]).round().clamp(-_LEVELS, _LEVELS)
    return levels.nan_to_num().to(torch.int8), steps


def dequantise(levels: Tensor, steps: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows that these stand for, contiguous. [..., D] int8, [...] float32 -> [..., D]"""
    # In float32 the largest rows of a dtype may come out a hair above what it can hold.
    largest = torch.finfo(dtype).max
    return (levels * steps[..., None]).clamp(-largest, largest).to(dtype)
