"""How often host and device pass each other numbers, seen without a GPU: on the device `meta`, which holds none."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class HostReads(TorchDispatchMode):
    """Counts the tensors of a device that are copied to the host. Of `meta` it gives zeros, of a single number a one.

    To ask `meta` how many of its numbers are true is an error.
    """

    def __init__(self, device: torch.device = META) -> None:
        super().__init__()
        self.num_reads = 0
        self._device = device

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func is torch.ops.aten._to_copy.default and args[0].is_meta and options.get("device") == torch.device("cpu"):
            self.num_reads += 1
            return torch.zeros(args[0].shape, dtype=args[0].dtype)
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device == self._device:
            self.num_reads += 1
            return torch.ones((), dtype=args[0].dtype).item() if args[0].is_meta else func(*args)
        return func(*args, **options)


class HostTensors(TorchDispatchMode):
    """The operations that take a tensor of the host, or make one of its numbers, and how many send it to `meta`."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []
        self.num_sent = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" for leaf in leaves):
            self.operations.append(str(func))
            self.num_sent += (kwargs or {}).get("device") == META
        return func(*args, **(kwargs or {}))
