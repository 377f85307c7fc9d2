"""The moments an answer rests on, from where its own tokens looked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.memory import CachedTokens

MAX_MOMENTS = 3
# Moments this close are one: an object in view is seen in frame after frame.
SAME_MOMENT_S = 2.0
# Of the attention that went to frames at all, the heaviest moment must draw this share, any other one more: a second
# peak is less often what the answer rests on (docs/accuracy.md).
MIN_SHARE = 0.15
MIN_FURTHER_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class EvidenceFrame:
    """A frame that drew the attention of an answer. weight: the share of all frames' attention that it and its
    neighbours drew, 0..1."""

    frame: int
    time_s: float
    weight: float


def find_moments(looked: Iterable[tuple[CachedTokens, Tensor]], tokens_per_frame: int) -> list[EvidenceFrame]:
    """At most three moments, the heaviest first; none where the attention was spread evenly.

    looked: for each layer its cached tokens and the attention on each, [N]. Summaries are of no one moment and
    do not count.
    """
    frames, times, weights = [], [], []
    for tokens, attention in looked:
        is_real = tokens.token_ids >= 0
        frames.append(tokens.token_ids[is_real] // tokens_per_frame)
        times.append(tokens.times_s[is_real])
        weights.append(attention[is_real])
    if not frames or not sum(part.numel() for part in frames):
        return []
    return _heaviest(*_by_frame(torch.cat(frames), torch.cat(times), torch.cat(weights)))


def _by_frame(frames: Tensor, times: Tensor, weights: Tensor) -> tuple[list[int], list[float], list[float]]:
    distinct, which = torch.unique(frames, return_inverse=True)
    drawn = torch.zeros(len(distinct), dtype=torch.float64, device=weights.device)
    drawn.index_add_(0, which, weights.double())
    seen = torch.zeros_like(drawn).index_copy_(0, which, times)
    return distinct.tolist(), seen.tolist(), (drawn / drawn.sum()).tolist()


def _heaviest(frames: list[int], times: list[float], weights: list[float]) -> list[EvidenceFrame]:
    """Takes the heaviest frame with its neighbours, then the heaviest of what is left, and so on."""
    found: list[EvidenceFrame] = []
    left = set(range(len(frames)))
    while left and len(found) < MAX_MOMENTS:
        peak = max(left, key=lambda place: weights[place])
        near = {place for place in left if abs(times[place] - times[peak]) <= SAME_MOMENT_S}
        share = sum(weights[place] for place in near)
        if share < (MIN_FURTHER_SHARE if found else MIN_SHARE):
            break
        found.append(EvidenceFrame(frames[peak], times[peak], share))
        left -= near
    return found
