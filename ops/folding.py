"""Many cached tokens folded into one summary token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Folded:
    """The summary of many tokens. key: float32; value: of the dtype of the values. [H, D] twice"""

    key: Tensor
    value: Tensor


def fold(keys: Tensor, values: Tensor, weights: Tensor) -> Folded:
    """The weighted mean of E tokens, whose keys are rotated to one position. [H, E, D] twice, [E] -> [H, D] twice

    With counts as weights, folding twice equals folding once over the union, so the next fold does not dilute a summary
    (HERMES as published gives an old summary of thousands the weight of one token). The means are float32.
    """
    share = (weights.float() / weights.sum())[None, :, None]
    return Folded(key=(keys.float() * share).sum(dim=1), value=(values.float() * share).sum(dim=1).to(values.dtype))
