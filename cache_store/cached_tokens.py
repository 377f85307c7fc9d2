"""Cached tokens of one layer as a value: what each has, and what can be done with several at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ops import quantising


@dataclass(frozen=True, slots=True)
class CachedTokens:
    """Cached tokens of one layer, oldest first. keys, values: [H, N, D]; the rest: [N], see `Slabs`.

    As int8 rows, of a slot or of a checkpoint, keys and values are [H, N, D + 2], see `quantising.join`.

    Keys and values may be on another device than the rest, where the decoder's layers are on several.

    The keys are rotated to `written_at`, not to the positions: a key that was rotated again whenever its position moved
    would drift, in bfloat16 by 43 % in 1,000 moves of one position.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    token_ids: Tensor
    counts: Tensor
    times_s: Tensor
    moved: Tensor

    def __len__(self) -> int:
        return self.positions.numel()

    @property
    def written_at(self) -> Tensor:
        """The positions that the keys are rotated to. -> [N]"""
        return self.positions - self.moved

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for _, _, tensor in self.tensors())

    def tensors(self) -> list[tuple[str, int, Tensor]]:
        """Each tensor with its name and its token axis."""
        return [(name, axis, getattr(self, name)) for name, axis in TOKEN_AXES]

    def map(self, function: Callable[[Tensor, int], Tensor]) -> CachedTokens:
        """The tokens with each tensor replaced by `function(tensor, token axis)`."""
        return CachedTokens(*[function(getattr(self, name), axis) for name, axis in TOKEN_AXES])

    def at(self, indices: Tensor) -> CachedTokens:
        """A copy of the tokens at these indices, in their order. [K]"""
        return self.map(lambda tensor, axis: tensor.index_select(axis, indices.to(tensor.device)))

    def slice(self, start: int, end: int) -> CachedTokens:
        """A view of the tokens from index `start` to before `end`."""
        return self.map(lambda tensor, axis: tensor.narrow(axis, start, end - start))

    def overwrite(self, tokens: CachedTokens) -> None:
        """Copies as many other tokens over these, in place; their keys and values are converted to these dtypes."""
        for name, _ in TOKEN_AXES:
            mine = getattr(self, name)
            mine.copy_(quantising.convert(getattr(tokens, name), mine.dtype))

    def by_position(self) -> CachedTokens:
        """A copy in order of position."""
        return self.at(self.positions.sort(stable=True).indices)

    @staticmethod
    def concat(*parts: CachedTokens) -> CachedTokens:
        """The tokens of all parts, one part after the other."""
        return CachedTokens(
            *[torch.cat([getattr(part, name) for part in parts], dim=axis) for name, axis in TOKEN_AXES]
        )


# The one list of what a cached token has: the fields, and in which axis of each the tokens lie.
TOKEN_AXES = tuple(
    (field.name, 1 if field.name in ("keys", "values") else 0) for field in dataclasses.fields(CachedTokens)
)
PER_TOKEN = tuple(name for name, axis in TOKEN_AXES if axis == 0)  # one number each; the slabs have all layers in one
