"""int8 weights: the matrices of the decoder's layers one byte a number, with a scale for each row.

No library of quantisation: transformers loads any that is installed into every process, and a matrix of int8 that is
widened when it is read is all that it takes for a model to fit.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import Linear, Module
from torch.nn.functional import linear

from ops import quantising


class Int8Linear(Module):
    """A linear layer with rows of int8. [..., I] -> [..., O]

    The input's type must hold 127 times its sums: bfloat16 and float32 do, float16 does not.
    """

    levels: Tensor
    scales: Tensor

    def __init__(self, exact: Linear) -> None:
        super().__init__()
        levels, scales = quantising.quantise(exact.weight.detach())
        self.register_buffer("levels", levels)
        self.register_buffer("scales", scales)
        self.bias = exact.bias

    def forward(self, values: Tensor) -> Tensor:
        product = linear(values, self.levels.to(values.dtype)) * self.scales.to(values.dtype)
        return product if self.bias is None else product + self.bias


def quantise(decoder: Module) -> None:
    """Replaces the matrices of a decoder's layers. Embeddings, norms and what is computed keep their type."""
    for module in list(decoder.layers.modules()):  # type: ignore[union-attr]
        for name, child in list(module.named_children()):
            if isinstance(child, Linear):
                setattr(module, name, Int8Linear(child))
