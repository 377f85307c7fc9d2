"""Where answers run: one right behind a copy of its memory, others on the same memory in slots for their suffixes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cache_store import footprint
from cache_store.memory import Memory
from cache_store.slabs import KVShape, Slabs
from models.decode_step import AnswerSlabs
from pipeline.device.device_config import DeviceConfig


@dataclass(slots=True, eq=False)
class _Copy:
    """A copy of a memory. memory: it, and behind it the tokens of one answer. base: the copy alone, for all others.

    source, version: what was copied, None while nothing is. readers: the memories of the answers that read the copy.
    """

    memory: Memory
    base: Memory
    source: Memory | None = None
    version: int = 0
    readers: list[Memory] = field(default_factory=list)

    def is_of(self, memory: Memory) -> bool:
        return self.source is memory and self.version == memory.version


class AnswerSlots:
    """A bounded number of answers and of copies of memories. Device thread only.

    Answers that begin on a memory while it does not change share a copy. The first of them runs in the copy's slot, so
    a single answer reads one run of tokens; the others have slots for their suffixes, and their attention is that over
    both, merged. A copy that no answer reads is kept until another memory needs its slot. capacity: of a camera's
    slot.
    """

    def __init__(self, shape: KVShape, config: DeviceConfig, capacity: int) -> None:
        self._max_running = config.max_running_questions
        reserve = footprint.answer_capacity(config.answer_reserve)
        num_suffixes = footprint.num_suffix_slots(self._max_running)
        self.slabs = AnswerSlabs(
            copies=Slabs(shape, slots=config.max_memory_copies, capacity=capacity + reserve),
            suffixes=Slabs(shape, slots=num_suffixes, capacity=reserve),
        )
        self._free = [Memory(self.slabs.suffixes, slot) for slot in range(1, num_suffixes)]
        memories = [Memory(self.slabs.copies, slot) for slot in range(config.max_memory_copies)]
        self._copies = [_Copy(memory, memory.frozen()) for memory in memories]  # last used last

    @property
    def num_free(self) -> int:
        """How many more answers have a slot, should they find a copy."""
        return self._max_running - sum(len(copy.readers) for copy in self._copies)

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

    def acquire(self, memory: Memory) -> Memory:
        """A memory for an answer that is ready: it continues this one. If it fails, none is acquired."""
        copy = self._copy_of(memory)
        if copy.memory not in copy.readers:
            answer_memory = copy.memory
            answer_memory.rewind(copy.base.extent)
        else:
            # The lowest, because neighbours are read together.
            answer_memory = min(self._free, key=lambda free: free.slot)
            answer_memory.continue_from(copy.base)
            self._free.remove(answer_memory)
        copy.readers.append(answer_memory)
        self._copies.remove(copy)
        self._copies.append(copy)
        return answer_memory

    def release(self, memory: Memory) -> None:
        """Frees what `acquire` returned, because its answer has ended."""
        copy = next(copy for copy in self._copies if memory in copy.readers)
        copy.readers.remove(memory)
        if memory is not copy.memory:
            self._free.append(memory)

    def _copy_of(self, memory: Memory) -> _Copy:
        for copy in self._copies:
            if copy.is_of(memory):
                return copy
        copy = next(copy for copy in self._copies if not copy.readers)
        copy.source = None  # until it is whole
        copy.memory.copy_from(memory)
        copy.base = copy.memory.frozen()
        copy.source, copy.version = memory, memory.version
        return copy
