"""The same memory on a GPU."""

from __future__ import annotations

import pytest
import torch

from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.answer_decoder import Answer, AnswerDecoder
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.tiny import network, vocabulary
from tests.conftest import append_frames, new_memory, random_frames, random_model


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
def test_a_memory_in_bfloat16_on_a_gpu_is_compacted_and_asked() -> None:
    weights = network.build_model(vocabulary.build_tokenizer(), seed=0).to("cuda", torch.bfloat16)
    model: LlavaOnevision = random_model(weights)
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128), max_frames=8, reserve=128)
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(40))
    scratch = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity + 256), 0)
    scratch.copy_from(memory)
    answer = Answer(scratch, model.prompts.question("what is in view"))
    decoder = AnswerDecoder(model)
    decoder.prefill(answer)
    decoder.decode_step([answer])

    assert memory.lengths == [memory.prefix_length + 128] * memory.num_layers
    assert len(answer.ids) == 2
    assert all(weights.device.type == "cuda" for weights in answer.attention_weights.values())
