"""How many tokens of which frames a memory holds, read from its device at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cache_store import token_ids
from cache_store.memory import Memory
from ops import transfer

_NO_TOKEN = -(1 << 62)


@dataclass(frozen=True, slots=True)
class CachedFrames:
    """tokens: of each requested frame, all layers together. oldest_s: the time of the oldest token, if any."""

    tokens: list[int]
    oldest_s: float | None


def count(memory: Memory, frames: Sequence[int]) -> CachedFrames:
    """Counts the tokens behind the prefix. Waits for the device once, for one number a frame."""
    valid = slice(memory.prefix_length, memory.longest)
    ids, times_s = (slab[:, memory.slot, valid] for slab in (memory.slabs.token_ids, memory.slabs.times_s))
    if not ids.numel():
        return CachedFrames([0] * len(frames), None)
    lengths = transfer.to_device(torch.tensor(memory.lengths), ids.device) - memory.prefix_length
    is_behind = torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None]
    cached = token_ids.frames_of(ids).masked_fill(is_behind, _NO_TOKEN).flatten().sort().values
    requested = transfer.to_device(torch.tensor(list(frames), dtype=torch.int64), ids.device)
    counts = torch.searchsorted(cached, requested, right=True) - torch.searchsorted(cached, requested)
    oldest_s = times_s.masked_fill(is_behind, math.inf).min()
    found = torch.cat((counts, oldest_s[None].view(torch.int64))).cpu()
    return CachedFrames(found[:-1].tolist(), float(found[-1:].view(torch.float64)))
