"""One token for many: the summary that a compaction leaves of tokens it folds."""

from __future__ import annotations

import torch
from torch import Tensor

from cache_store.cached_tokens import CachedTokens
from cache_store.positions import Positions
from ops import folding, quantising


def weighted_summary(folded: CachedTokens, kept: CachedTokens, positions: Positions) -> CachedTokens:
    """The mean of the folded tokens, weighted by their counts, at the position of the middle one. [N], [K] -> [1]

    Its count is the sum of theirs, so that it weighs in attention as they did. Its token id is a placeholder.
    """
    position = folded.positions[(len(folded) - 1) // 2]
    return summary_at(position, folded, folded.counts, positions)


def summary_at(position: Tensor, folded: CachedTokens, counts: Tensor, positions: Positions) -> CachedTokens:
    """The mean of the folded tokens weighted by `counts`, at `position` on all axes; its time is the oldest.

    [], [N] -> [1]. Its key is rotated to where that of the heaviest token is: an earlier summary is not rotated, so it
    does not drift.
    """
    written_at = folded.written_at.index_select(0, folded.counts.argmax(dim=0, keepdim=True))
    distance = written_at - positions.coordinates(folded.written_at, folded.token_ids)
    keys, values = (quantising.convert(rows, torch.float32) for rows in (folded.keys, folded.values))
    mean = folding.fold(positions.rotate(keys, distance), values, counts.to(keys.device))
    return CachedTokens(
        keys=quantising.convert(mean.key[:, None], folded.keys.dtype),
        values=quantising.convert(mean.value[:, None], folded.values.dtype),
        positions=position.reshape(1),
        token_ids=folded.token_ids[-1:],
        counts=counts.sum().reshape(1),
        times_s=folded.times_s.min().reshape(1),
        moved=(position - written_at).to(folded.moved.dtype).reshape(1),
    )
