"""New positions for all tokens of a memory, when its positions run out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cache_store.memory import Memory
from ops import positions


def reindex(memory: Memory, *, max_span: int, max_gap: int, window: int = 0) -> None:
    """Renumbers the positions of all layers together. The keys stay as they are, see `Memory.keys`.

    The new positions are below prefix + `max_span`, see `ops.positions.reindex`. window: so many of the newest
    positions keep their distances.
    """
    layers = [memory.after_prefix(index) for index in range(memory.num_layers)]
    if not any(map(len, layers)):
        memory.renumber([], next_position=memory.prefix_length, reach=0)
        return
    newest = _newest(layer.positions for layer in layers)
    if memory.slabs.shape.positions.num_axes > 1:  # the last position in use may be behind that of the newest token
        newest = newest.clamp(min=memory.next_position - 1)
    *reindexed, reindexed_last = positions.reindex(
        [*(layer.positions for layer in layers), newest[None]],
        first=memory.prefix_length,
        max_span=max_span,
        max_gap=max_gap,
        recent_from=memory.next_position - window,
    )
    distances = [new - layer.positions for layer, new in zip(layers, reindexed, strict=True)]
    moved = torch.cat([layer.moved + distance for layer, distance in zip(layers, distances, strict=True)])
    # Read at once, because a GPU would be waited for at each.
    last, reach = torch.stack((_newest((*reindexed, reindexed_last)), moved.abs().amax())).tolist()
    # Last, and in place: a reindexing that fails changes nothing.
    memory.renumber(distances, next_position=last + 1, reach=reach)


def _newest(layers: Iterable[Tensor]) -> Tensor:
    """The highest of positions that rise in each layer. L × [N_l] -> []"""
    return torch.stack([layer[-1] for layer in layers if layer.numel()]).amax()
