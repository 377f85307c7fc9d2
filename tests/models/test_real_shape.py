"""The shape of LLaVA-OneVision 0.5B with random weights runs through the same code as the tiny model."""

from __future__ import annotations

import pytest
import torch

from benchmarks import real_shape
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.answer_decoder import Answer, AnswerDecoder
from models.memory_writer import MemoryWriter


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_clip_and_one_question_go_through_the_real_shape() -> None:
    torch.set_num_threads(2)
    model = real_shape.load()
    assert (model.spec.layout.max_cells, model.spec.layout.square, model.spec.kv.footprint.kv_nbytes) == (196, 384, 512)

    config = MemoryConfig(tokens_per_layer=400, recent_frames=1)
    writer = MemoryWriter(model, config, max_frames=3, reserve=512)
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    writer.reset(memory)
    frames = torch.randint(0, 256, (1, 3, 384, 384, 3), dtype=torch.uint8)
    writer.append([memory], frames, torch.arange(3, dtype=torch.float64)[None])

    scratch = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity + 512), 0)
    scratch.copy_from(memory)
    answer = Answer(scratch, model.prompts.question("What colour was the last car?"))
    decoder = AnswerDecoder(model)
    decoder.step([answer])
    decoder.step([answer])

    assert memory.lengths == [memory.prefix_length + 400] * 24
    assert memory.compactions == 1
    assert len(answer.ids) == 2
    assert all(bool(torch.isfinite(weights).all()) for weights in answer.attention_weights.values())
