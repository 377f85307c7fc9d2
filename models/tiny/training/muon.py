"""Muon in float32: torch.optim.Muon multiplies in bfloat16, which is slow on CPUs without matrix units."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of torch.optim.Muon
_ITERATIONS = 5
_MOMENTUM = 0.95


def orthogonalize(matrices: Tensor) -> Tensor:
    """Each matrix with its singular values moved to about 1, by Newton-Schulz iteration. [K, R, C] -> [K, R, C]"""
    is_tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if is_tall else matrices
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    linear, cubic, quintic = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide.mT if is_tall else wide


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and the step length of AdamW. Matrices of one shape are updated together."""

    def __init__(self, matrices: Iterable[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step. Matrices without a gradient are skipped."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append(matrix)
            for shape, matrices in by_shape.items():
                updates = orthogonalize(torch.stack([self._momentum(matrix) for matrix in matrices]))
                length = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=length)

    def _momentum(self, matrix: Tensor) -> Tensor:
        """The gradient with Nesterov momentum."""
        assert matrix.grad is not None
        mean: Tensor = self.state[matrix].setdefault("mean", torch.zeros_like(matrix))
        mean.lerp_(matrix.grad, 1 - _MOMENTUM)
        return matrix.grad.lerp(mean, _MOMENTUM)
