"""Where answers run: a slot for the tokens of each, behind a copy of its memory that answers share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cache_store import footprint
from cache_store.memory import Memory
from cache_store.slabs import KVShape, Slabs
from pipeline.device.device_config import DeviceConfig


@dataclass(slots=True, eq=False)
class _Copy:
    """source, version: what it is a copy of, None of nothing. readers: the slots of the answers that read it."""

    memory: Memory
    source: Memory | None = None
    version: int = 0
    readers: set[int] = field(default_factory=set)

    def is_of(self, memory: Memory) -> bool:
        return self.source is memory and self.version == memory.version


class AnswerSlots:
    """A bounded number of slots for answers and of copies of memories. Device thread only.

    Answers that begin on a memory while it does not change share a copy. A copy that no answer reads is kept until
    another memory needs its slot. capacity: of a camera's slot.
    """

    def __init__(self, shape: KVShape, config: DeviceConfig, capacity: int) -> None:
        own = Slabs(
            shape, slots=config.max_running_questions, capacity=footprint.answer_capacity(config.answer_reserve)
        )
        copies = Slabs(shape, slots=config.max_memory_copies, capacity=capacity)
        self._free = [Memory(own, slot) for slot in range(config.max_running_questions)]
        self._copies = [_Copy(Memory(copies, slot)) for slot in range(config.max_memory_copies)]  # last used last

    @property
    def num_free(self) -> int:
        """How many more answers have a slot, should they find a copy."""
        return len(self._free)

    def num_ready(self, memories: Iterable[Memory]) -> int:
        """How many answers on these memories can begin now, in their order, as far as copies go."""
        read = [(copy.source, copy.version) for copy in self._copies if copy.readers]
        num_ready = 0
        for memory in memories:
            if (memory, memory.version) not in read:
                if len(read) == len(self._copies):
                    break
                read.append((memory, memory.version))
            num_ready += 1
        return num_ready

    def take(self, memory: Memory) -> Memory:
        """An empty memory behind a copy of this one, for an answer that is ready. If it fails, none is taken."""
        # The lowest, because neighbours are read together.
        slot = min(self._free, key=lambda free: free.slot)
        copy = self._copy_of(memory)
        slot.continue_from(copy.memory)
        self._free.remove(slot)
        copy.readers.add(slot.slot)
        self._copies.remove(copy)
        self._copies.append(copy)
        return slot

    def give_back(self, slot: Memory) -> None:
        """Its answer has ended."""
        for copy in self._copies:
            copy.readers.discard(slot.slot)
        self._free.append(slot)

    def _copy_of(self, memory: Memory) -> _Copy:
        for copy in self._copies:
            if copy.is_of(memory):
                return copy
        copy = next(copy for copy in self._copies if not copy.readers)
        copy.source = None  # until it is whole
        copy.memory.copy_from(memory)
        copy.source, copy.version = memory, memory.version
        return copy
