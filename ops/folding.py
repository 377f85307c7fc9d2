"""Many cached tokens folded into one summary token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ops import rope


@dataclass(frozen=True, slots=True)
class Folded:
    """The summary of many tokens. key, value: [H, D]"""

    key: Tensor
    value: Tensor


def fold(
    keys: Tensor, values: Tensor, positions: Tensor, weights: Tensor, *, position: Tensor, frequency: Tensor
) -> Folded:
    """The weighted mean of E tokens, with keys rotated to one position. [H, E, D] twice, [E], [E] -> [H, D] twice

    With counts as weights, folding twice equals folding once over the union, so the next fold does not dilute a summary
    (HERMES as published gives an old summary of thousands the weight of one token). The means are float32.
    """
    rotated = rope.rotate(keys.float(), position - positions, frequency)
    share = (weights.float() / weights.sum())[None, :, None]
    return Folded(
        key=(rotated * share).sum(dim=1).to(keys.dtype),
        value=(values.float() * share).sum(dim=1).to(values.dtype),
    )
