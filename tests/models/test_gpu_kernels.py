"""With the kernels of a GPU, computed on the CPU, a model reads and answers as with the CPU's own."""

from __future__ import annotations

import pytest
import torch

from benchmarks.on_device import answering, equality, full_memories, plain_models
from cache_store.row_format import RowFormat
from cache_store.tiers import MemoryConfig
from models.answer_decoder import Answer, AnswerDecoder
from models.memory_writer import MemoryWriter
from tests import gpu_kernels
from tests.pipeline.device.fixed_steps import FixedSteps

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", [plain_models.TINY, plain_models.TINY_QWEN])
@pytest.mark.parametrize(("num_frames", "tokens_per_layer"), [(24, 1_000), (96, 256)], ids=["whole", "compacted"])
def test_a_tiny_model_answers_as_with_the_kernels_of_the_cpu(name: str, num_frames: int, tokens_per_layer: int) -> None:
    """float32, and what `benchmarks.gpu` asks of a real GPU."""
    expected = equality.answers(name, CPU, num_frames=num_frames, tokens_per_layer=tokens_per_layer)
    with gpu_kernels.on_cpu() as called:
        found = equality.answers(name, CPU, num_frames=num_frames, tokens_per_layer=tokens_per_layer)

    assert set(called) == {"efficient"}
    assert found.answers == expected.answers
    assert found.same_tokens(expected) == 1


@pytest.mark.parametrize("rows", list(RowFormat))
@pytest.mark.parametrize("name", [plain_models.TINY, plain_models.TINY_QWEN])
def test_no_tensor_in_bfloat16_is_one_that_the_kernels_refuse(name: str, rows: RowFormat) -> None:
    """Frames of several cameras, a compaction, questions on shared copies, decode steps of both kinds."""
    model = plain_models.load(name, CPU, torch.bfloat16)
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128), max_frames=4, reserve=answering.RESERVE)
    with gpu_kernels.on_cpu() as called:
        memories = full_memories.full(writer, 3, rows)
        times_s = [full_memories.times_s(model, memory, 4) for memory in memories]
        writer.append(memories, full_memories.noise_frames(model, 3, 4), times_s)
        asked = [memories[0], memories[0], memories[1], memories[2], memories[0]]
        slots = answering.answer_slots(model, asked)
        answers = [
            Answer(slots.acquire(memory), answering.question_of(model, 40 + row)) for row, memory in enumerate(asked)
        ]
        decoders = (AnswerDecoder(model), AnswerDecoder(model, FixedSteps(model, slots.slabs)))
        for decoder in (*decoders, *decoders):
            decoder.step(answers)

    assert set(called) == {"efficient", "flash"}
    assert all(memory.compactions for memory in memories)
    assert [len(answer.ids) for answer in answers] == [4] * 5


def test_memories_are_compared_token_by_token() -> None:
    """One of four tokens is another one, and one has another key."""
    keys = torch.arange(8.0).view(1, 4, 2)
    changed = keys.clone()
    changed[0, 2] += 0.1
    one = equality.Answered([], [torch.tensor([3, 5, 8, 9])], [keys])
    other = equality.Answered([], [torch.tensor([3, 5, 8, 10])], [changed])

    assert one.same_tokens(one) == 1
    assert one.same_tokens(other) == other.same_tokens(one) == 0.5
