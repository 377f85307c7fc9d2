"""A pass in parts, one for each number of new tokens, for decoders that read batches instead of packed tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.query_capture import LayerQueries, QueryCapture
from models.slot_cache import AttentionCapture, SlotCache
from ops import transfer


class PassPart:
    """The memories of a pass with one number of new tokens, as a pass of its own.

    places: of its tokens in the packed row of the whole pass.
    """

    def __init__(self, whole: SlotCache, rows: Sequence[int]) -> None:
        """rows: the places of its memories in the whole pass."""
        self._whole = whole
        self._rows = rows
        places = torch.cat([torch.arange(whole.spans[row].start, whole.spans[row].stop) for row in rows])
        self.places = transfer.to_device(places, whole.memories[0].slabs.shape.device)
        self.forward_pass = SlotCache(
            [whole.memories[row] for row in rows],
            [whole.num_new[row] for row in rows],
            mask=whole.mask,
            offsets=whole.offsets[..., places],
            is_read_only=whole.is_read_only,
            capture=_same(whole.capture),
        )

    def complete(self) -> None:
        """Hands the recurrent states and what was captured of this part to the whole pass, after its forward."""
        for row, states in zip(self._rows, self.forward_pass.states(), strict=True):
            self._whole.set_states(row, states)
        whole, part = self._whole.capture, self.forward_pass.capture
        if isinstance(whole, QueryCapture) and isinstance(part, QueryCapture):
            whole.layers.update({layer: self._with_part(whole, layer, part.layers[layer]) for layer in part.layers})
        if isinstance(whole, AttentionCapture) and isinstance(part, AttentionCapture):
            for layer, weights in part.weights.items():
                of_rows = {row: weights[index] for index, row in enumerate(self._rows)}
                whole.weights.setdefault(layer, {}).update(of_rows)

    def _with_part(self, whole: QueryCapture, layer: int, found: LayerQueries) -> LayerQueries:
        """The queries of the whole pass, with those of this part's memories in their rows."""
        of_whole, rows = whole.layers.get(layer) or found.empty(len(self._whole.memories)), list(self._rows)
        of_whole.queries[rows], of_whole.normalizer[rows] = found.queries, found.normalizer
        return of_whole


def _same(capture: AttentionCapture | QueryCapture | None) -> AttentionCapture | QueryCapture | None:
    """A capture of the same for a part of the pass."""
    if isinstance(capture, QueryCapture):
        return QueryCapture(capture.is_recorded)
    return capture and AttentionCapture(capture.query_rows, capture.reduce)


def parts_of(whole: SlotCache) -> list[PassPart]:
    """The parts of a pass, the shortest first."""
    return [
        PassPart(whole, [row for row, other in enumerate(whole.num_new) if other == length])
        for length in sorted(set(whole.num_new))
    ]
