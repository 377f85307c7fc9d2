"""Faults on the thread of a device: the chosen one of its next tensor operations that allocate fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.device.engine import Engine
from tests.pipeline.device.engine_driver import TIMEOUT_S

ERRORS: dict[str, Callable[[], Exception]] = {
    "CUDA out of memory": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "out of memory": MemoryError,
    "unable to write": lambda: RuntimeError("unable to write"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """kind: a Damage of the model's passes, or one of `ERRORS` in place of a tensor operation. place: which, from 0."""

    kind: str
    place: int


class Faults(TorchDispatchMode):
    """Counts the operations of the thread that allocate memory, and fails one of them.

    What writes in place or makes a view allocates nothing, and is never failed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_operations = 0
        self._fails_at: int | None = None
        self._error: Exception | None = None

    @classmethod
    def of(cls, engine: Engine) -> Faults:
        """Those of a running engine."""
        faults = cls()
        engine.command("faults", faults.__enter__).result(TIMEOUT_S)
        return faults

    def fail_after(self, num_operations: int, error: Exception) -> None:
        """Raises the error once, in place of the operation that comes after so many others."""
        self._error, self._fails_at = error, self.num_operations + num_operations

    def disarm(self) -> bool:
        """Whether the fault came; it does not come any more."""
        has_come, self._fails_at = self._fails_at is None, None
        return has_come

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        schema = func._schema
        if not schema.is_mutable and not any(result.alias_info for result in schema.returns):
            self.num_operations += 1
            if self._fails_at is not None and self.num_operations > self._fails_at:
                self._fails_at = None
                assert self._error is not None
                raise self._error
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def failing(fault: Fault | None) -> Iterator[Faults | None]:
    """Fails a tensor operation of the block, if there is a fault."""
    if fault is None:
        yield None
        return
    with Faults() as faults:
        faults.fail_after(fault.place, ERRORS[fault.kind]())
        yield faults
