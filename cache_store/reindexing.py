"""New positions for all tokens of a memory, when its positions run out."""

from __future__ import annotations

import torch

from cache_store.memory import Memory


def reindex(memory: Memory, *, max_span: int, max_gap: int, window: int = 0) -> None:
    """Renumbers the positions of all layers together. The keys stay as they are, see `Memory.keys`.

    The new positions are below prefix + `max_span`, see `Positions.reindex`. window: so many of the newest positions
    keep their distances.
    """
    numbering = memory.slabs.shape.positions
    layers = [memory.after_prefix(index) for index in range(memory.num_layers)]
    newest = max((int(layer.positions[-1]) for layer in layers if len(layer)), default=-1)
    if newest < 0:
        memory.next_position, memory.reach = memory.prefix_length, 0
        return
    # On several axes the last position in use may be behind that of the newest token.
    farthest_axis = memory.next_position - 1 if numbering.num_axes > 1 else newest
    last = torch.tensor([max(newest, farthest_axis)], device=memory.slabs.shape.device)
    *reindexed, reindexed_last = numbering.reindex(
        [*(layer.positions for layer in layers), last],
        first=memory.prefix_length,
        max_span=max_span,
        max_gap=max_gap,
        recent_from=memory.next_position - window,
    )
    distances = [positions - layer.positions for layer, positions in zip(layers, reindexed, strict=True)]
    newest = max(int(positions[-1]) for positions in (*reindexed, reindexed_last) if positions.numel())
    farthest = [
        int((layer.moved + distance).abs().max())
        for layer, distance in zip(layers, distances, strict=True)
        if len(layer)
    ]
    # Last, and in place: a reindexing that fails changes nothing.
    for layer, distance in zip(layers, distances, strict=True):
        layer.positions.add_(distance)
        layer.moved.add_(distance)
    memory.next_position = newest + 1
    memory.reach = max(farthest, default=0)
