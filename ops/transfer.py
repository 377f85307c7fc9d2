"""Copies of tensors from the host to a device that the host does not wait for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; itself if it is there already.

    Only from pinned memory does a GPU copy while the host goes on. torch keeps that memory until the copy is done.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def concat_to_device(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """Concatenated tensors on a device, in one transfer if they are on the host. B × [N_b, ...] -> [N, ...]"""
    if len(parts) == 1:
        return to_device(parts[0], device)
    if device.type != "cuda" or parts[0].is_cuda:
        return torch.cat(list(parts)).to(device)
    size = (sum(map(len, parts)), *parts[0].shape[1:])
    pinned = torch.empty(size, dtype=parts[0].dtype, pin_memory=True)
    return torch.cat(list(parts), out=pinned).to(device, non_blocking=True)
