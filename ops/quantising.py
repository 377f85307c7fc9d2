"""Symmetric int8 quantisation: one byte a number, one scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 127
_SCALE_DTYPE = torch.bfloat16  # the range of float32 in two bytes
_SCALE_NBYTES = _SCALE_DTYPE.itemsize


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as int8, and its scale in bfloat16: largest magnitude / 127, rounded. [..., D] -> [..., D], [...]

    A dequantised value is within half the scale and the rounding of its dtype. One that is not finite spoils its row.
    """
    exact = rows.float()
    # Subnormal scales lose precision, and a row of zeros needs a scale above 0.
    scales = exact.abs().amax(dim=-1).div_(_LEVELS).clamp_(min=torch.finfo(_SCALE_DTYPE).tiny).to(_SCALE_DTYPE)
    # A scale is rounded by at most 1/512, so that the largest magnitude is still level 127.
    return (exact / scales[..., None].float()).round_().to(torch.int8), scales


def dequantise(levels: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows of these levels and scales, contiguous. [..., D] int8, [...] -> [..., D]"""
    rows = levels.float().mul_(scales[..., None].float())
    # A product may exceed the largest number of the dtype by a rounding.
    largest = min(torch.finfo(dtype).max, torch.finfo(rows.dtype).max)
    return rows.clamp_(-largest, largest).to(dtype)


def join(levels: Tensor, scales: Tensor) -> Tensor:
    """Rows of levels with the two bytes of the row's scale behind them. [..., D] int8, [...] -> [..., D + 2] int8"""
    return torch.cat((levels, scales[..., None].view(torch.int8)), dim=-1)


def split(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Views of the levels and scales that were joined. [..., D + 2] int8 -> [..., D] int8, [...]"""
    channels = rows.shape[-1] - _SCALE_NBYTES
    return rows[..., :channels], rows[..., channels:].view(_SCALE_DTYPE)[..., 0]


def width(channels: int, dtype: torch.dtype) -> int:
    """Numbers of a row that `convert` returns for so many channels."""
    return channels + _SCALE_NBYTES if dtype is torch.int8 else channels


def convert(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows as numbers of another dtype; in int8 each has its scale behind it, see `join`. No copy if they are already.

    [..., D] or [..., D + 2] -> [..., D] or [..., D + 2]
    """
    if rows.dtype == dtype:
        return rows
    if dtype is torch.int8:
        return join(*quantise(rows))
    return dequantise(*split(rows), dtype) if rows.dtype is torch.int8 else rows.to(dtype)
