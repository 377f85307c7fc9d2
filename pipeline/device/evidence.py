"""The moments that an answer rests on, found by the attention of its tokens on the cached tokens of frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store import token_ids
from cache_store.cached_tokens import CachedTokens

MAX_MOMENTS = 3
# Frames this close are one moment: an object in view is in frame after frame.
SAME_MOMENT_S = 2.0
# The least share of the attention on frames that the first moment must have, and any further one. A further one needs
# more, because an answer rests on a second peak less often (docs/accuracy.md).
_MIN_SHARE = 0.15
_MIN_FURTHER_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class EvidenceFrame:
    """The frame with the most attention of a moment. weight: the moment's share of the attention on frames, 0..1."""

    frame: int
    time_s: float
    weight: float


def find_moments(attention: Iterable[tuple[CachedTokens, Tensor]]) -> list[EvidenceFrame]:
    """At most MAX_MOMENTS moments, the heaviest first; none where attention is spread evenly.

    attention: for each evidence layer its cached tokens and the attention weight on each, [N]. Summary tokens belong
    to no single moment, and text between frames shows nothing: both are ignored.
    """
    parts = [torch.stack(_of_frames(tokens, weights)) for tokens, weights in attention]
    if not parts:
        return []
    # One transfer for all layers: the host waits for the device once. A frame's number is exact in float64.
    frames, times, weights = torch.cat(parts, dim=1).cpu()
    is_of_frame = frames >= 0
    if not bool(is_of_frame.any()):
        return []
    return _heaviest(*_by_frame(frames[is_of_frame].long(), times[is_of_frame], weights[is_of_frame]))


def _of_frames(tokens: CachedTokens, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The frame of each token, -1 where it shows none, its time and its attention weight, on its device. [N] each"""
    frames = torch.where(token_ids.is_cell(tokens.token_ids), token_ids.frames_of(tokens.token_ids), -1)
    return frames.double(), tokens.times_s, weights.to(frames.device).double()


def _by_frame(frames: Tensor, times: Tensor, weights: Tensor) -> tuple[list[int], list[float], list[float]]:
    """Distinct frames, ascending, their times, and their shares of the attention. [N] each -> F each"""
    distinct, which = torch.unique(frames, return_inverse=True)
    frame_weights = torch.zeros(len(distinct), dtype=torch.float64)
    frame_weights.index_add_(0, which, weights)
    frame_times = torch.zeros_like(frame_weights).index_copy_(0, which, times)
    return distinct.tolist(), frame_times.tolist(), (frame_weights / frame_weights.sum()).tolist()


def _heaviest(frames: list[int], times: list[float], weights: list[float]) -> list[EvidenceFrame]:
    """Takes the heaviest frame with its neighbours as one moment, then the heaviest of the remaining frames, etc."""
    moments: list[EvidenceFrame] = []
    remaining = set(range(len(frames)))
    while remaining and len(moments) < MAX_MOMENTS:
        peak = max(remaining, key=lambda index: weights[index])
        neighbours = {index for index in remaining if abs(times[index] - times[peak]) <= SAME_MOMENT_S}
        share = sum(weights[index] for index in neighbours)
        if share < (_MIN_FURTHER_SHARE if moments else _MIN_SHARE):
            break
        moments.append(EvidenceFrame(frames[peak], times[peak], share))
        remaining -= neighbours
    return moments
