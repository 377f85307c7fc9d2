"""One slot of its own for a copy of any memory: what a benchmark reads or answers on without changing the memory."""

from __future__ import annotations

from cache_store.memory import Memory
from cache_store.slabs import Slabs


class ScratchSlot:
    """Holds one copy at a time, and grows with the memories. reserve: tokens that a copy has room for behind them."""

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._copy: Memory | None = None

    def copy(self, memory: Memory) -> Memory:
        """A copy of a memory, until the next one is asked for."""
        capacity = memory.slabs.capacity + self._reserve
        if self._copy is None or self._copy.slabs.capacity < capacity:
            self._copy = Memory(Slabs(memory.slabs.shape, slots=1, capacity=capacity), 0)
        self._copy.copy_from(memory)
        return self._copy
