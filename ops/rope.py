"""Rotary position embeddings: keys rotated to other positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def rotate(keys: Tensor, distance: Tensor, frequency: Tensor) -> Tensor:
    """Keys rotated by `distance` positions, one for each token, or for each token and frequency.

    [..., N, D], [N] or [N, R/2], [R/2] -> [..., N, D]. Rotations compose, so a key cached at position p moves to q by
    `rotate(key, q - p)`. Channels are paired as the Llama family does, i with i + R/2; those behind the first R stay.
    The result has the dtype of `keys`.
    """
    # bfloat16 cannot tell position 256 from 257. A float32 angle is off by 1e-4 at distance 4,000, and a thousand
    # rotations add that up. So the angle is float64, the rotation float32.
    by_frequency = distance[:, None] if distance.dim() == 1 else distance
    angle = by_frequency.double() * frequency
    cos, sin = angle.cos().float(), angle.sin().float()
    width = 2 * len(frequency)
    first, second = keys[..., :width].float().chunk(2, dim=-1)
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(keys.dtype)
    return _with_rest(rotated, keys)


def rotation_table(frequency: Tensor, reach: int) -> Tensor:
    """Cosines and signed sines of all distances from -reach to reach. [R/2] -> [2 · reach + 1, 2 · R]"""
    angle = torch.arange(-reach, reach + 1, device=frequency.device).double()[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos, -sin, sin), dim=-1).float()


def rotate_by(table: Tensor, keys: Tensor, distance: Tensor) -> Tensor:
    """What `rotate` returns, for distances that are in the `rotation_table`. [..., H, N, D], [..., N]

    It takes a third of the time of `rotate`, for keys that are rotated at each reading.
    """
    cos, sin = functional.embedding(distance.unsqueeze(-2) + table.shape[0] // 2, table).chunk(2, dim=-1)
    turning = keys[..., : cos.shape[-1]]
    swapped = turning.float().roll(cos.shape[-1] // 2, dims=-1)
    return _with_rest((turning * cos).addcmul_(swapped, sin).to(keys.dtype), keys)


def _with_rest(rotated: Tensor, keys: Tensor) -> Tensor:
    """The rotated channels, then those that are not rotated."""
    width = rotated.shape[-1]
    return rotated if width == keys.shape[-1] else torch.cat((rotated, keys[..., width:]), dim=-1)
