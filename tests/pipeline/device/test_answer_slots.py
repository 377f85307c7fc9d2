"""Copies of memories for answers: shared while the memory does not change, and never more than there are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cache_store.memory import Memory
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from pipeline.device.answer_slots import AnswerSlots
from tests.conftest import append_frames, new_memory, random_frames
from tests.pipeline.device.engine_driver import CONFIG


@pytest.fixture
def slots(model: LlavaOnevision, writer: MemoryWriter) -> AnswerSlots:
    return AnswerSlots(model.spec.kv, replace(CONFIG, max_running_questions=4, max_memory_copies=2), writer.capacity)


@pytest.fixture
def memories(writer: MemoryWriter) -> list[Memory]:
    """Three, of different numbers of frames."""
    memories = [new_memory(writer) for _ in range(3)]
    for number, memory in enumerate(memories):
        append_frames(writer, memory, random_frames(number + 1, number))
    return memories


def test_one_answer_runs_right_behind_the_copy_and_others_read_it_from_their_own_slots(
    slots: AnswerSlots, memories: list[Memory]
) -> None:
    lone, one, other = (slots.acquire(memories[0]) for _ in range(3))

    assert lone.base is None
    assert lone.lengths == memories[0].lengths
    assert one.base is other.base is not None
    assert one.base.slabs is lone.slabs
    assert one.base.slot == lone.slot
    assert torch.equal(one.base.keys(0), memories[0].keys(0))
    assert lone.next_position == one.next_position == memories[0].next_position
    assert {one.slot, other.slot} == {1, 2}  # slot 0 stays empty


def test_what_an_answer_writes_behind_the_copy_is_read_by_no_other(slots: AnswerSlots, memories: list[Memory]) -> None:
    """Neither by one that shares the copy, nor by the next one in its place."""
    lone, other = slots.acquire(memories[0]), slots.acquire(memories[0])
    lone.extend(5, 7)
    assert other.base is not None
    assert other.base.lengths == memories[0].lengths
    slots.release(lone)
    again = slots.acquire(memories[0])

    assert again is lone
    assert again.lengths == memories[0].lengths
    assert again.next_position == memories[0].next_position


def test_a_memory_that_has_changed_is_copied_anew(
    slots: AnswerSlots, memories: list[Memory], writer: MemoryWriter
) -> None:
    """The answer that began before reads what it began with."""
    before = slots.acquire(memories[0])
    lengths = list(before.lengths)
    append_frames(writer, memories[0], random_frames(1, 9))
    after = slots.acquire(memories[0])

    assert before is not after
    assert before.lengths == lengths
    assert lengths[0] < after.lengths[0]


def test_an_erased_memory_is_not_answered_from_its_old_copy(
    slots: AnswerSlots, memories: list[Memory], writer: MemoryWriter
) -> None:
    """Even if it holds as many tokens at the same positions again."""
    slots.release(slots.acquire(memories[0]))
    memories[0].erase()
    append_frames(writer, memories[0], random_frames(1, 9))
    again = slots.acquire(memories[0])

    assert torch.equal(again.values(0), memories[0].values(0))


def test_answers_on_more_memories_than_copies_wait(slots: AnswerSlots, memories: list[Memory]) -> None:
    first, second, third = memories
    assert slots.num_ready([first, first, second, second, third, first]) == 4
    running = [slots.acquire(first), slots.acquire(second)]
    assert slots.num_ready([third]) == 0
    assert slots.num_ready([second, first, third]) == 2
    slots.release(running[0])
    assert slots.num_ready([third, second, first]) == 2


def test_a_copy_is_kept_until_another_memory_needs_its_slot(slots: AnswerSlots, memories: list[Memory]) -> None:
    first, second, third = memories
    places = []
    for memory in (first, second, first, third, first, second):
        slot = slots.acquire(memory)
        places.append(slot.slot)
        slots.release(slot)

    assert places[0] == places[2] == places[4]  # of two that nobody reads, the one used longest ago gives way
    assert places[1] == places[3] == places[5]


def test_a_copy_that_fails_takes_no_slot_and_is_read_by_nobody(
    slots: AnswerSlots, memories: list[Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_from = Memory.copy_from

    def failing(copy: Memory, other: Memory) -> None:
        copy_from(copy, other)
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Memory, "copy_from", failing)
        with pytest.raises(torch.OutOfMemoryError):
            slots.acquire(memories[0])

    assert slots.num_free == 4
    assert slots.num_ready(memories) == 2
    assert torch.equal(slots.acquire(memories[1]).keys(0), memories[1].keys(0))


def test_as_many_answers_run_as_are_allowed(slots: AnswerSlots, memories: list[Memory]) -> None:
    running = [slots.acquire(memories[0]) for _ in range(4)]
    assert slots.num_free == 0
    slots.release(running[0])
    slots.release(running[3])
    assert slots.num_free == 2
    assert slots.acquire(memories[0]) is running[0]
    assert slots.acquire(memories[0]) is running[3]
