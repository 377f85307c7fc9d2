"""Many cached tokens folded into one that stands for them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ops import rope


@dataclass(frozen=True, slots=True)
class Folded:
    """One token for many. key, value: [H, D]"""

    key: Tensor
    value: Tensor


def fold(
    keys: Tensor, values: Tensor, positions: Tensor, weights: Tensor, *, position: Tensor, frequency: Tensor
) -> Folded:
    """The weighted mean of E tokens, their keys first turned to one position. [H, E, D] twice, [E], [E] -> [H, D] twice

    With counts as weights, folding twice equals folding once over the union, so that no summary is diluted by
    the next (HERMES as published weighs an old summary of thousands like one token). Means in float32.
    """
    turned = rope.rotate(keys.float(), position - positions, frequency)
    share = (weights.float() / weights.sum())[None, :, None]
    return Folded(
        key=(turned * share).sum(dim=1).to(keys.dtype),
        value=(values.float() * share).sum(dim=1).to(values.dtype),
    )
