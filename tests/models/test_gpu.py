"""A GPU gives the same answers, keys and logits as the CPU."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import registry
from models.answer_decoder import Answer, AnswerDecoder
from models.llava_onevision import LlavaOnevision, PixelScale
from models.memory_writer import MemoryWriter
from models.slot_cache import SlotCache
from models.tiny import network, vocabulary
from models.tiny.scenes.scene import Scene
from tests.conftest import append_frames, new_memory, random_frames, random_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
]

QUESTIONS = ("what is in view", "what came first", "what left last", "how many cars so far", "what colour was the car")


@dataclass(frozen=True, slots=True)
class Result:
    """What one device computed. logits: of the first token of each answer. [Q, V]"""

    answers: list[str]
    logits: Tensor
    keys: list[Tensor]


def on_device(shipped: LlavaOnevision, device: str) -> LlavaOnevision:
    """The shipped model with the same float32 weights on another device."""
    pixels = PixelScale((network.PIXEL_MEAN,) * 3, (network.PIXEL_STD,) * 3)
    weights = copy.deepcopy(shipped._network).to(device)
    return LlavaOnevision(
        weights, shipped.prompts, name="tiny", pixels=pixels, reliable_positions=network.RELIABLE_POSITIONS
    )


def compute(model: LlavaOnevision, frames: Tensor, tokens_per_layer: int) -> Result:
    """Appends frames to a memory and asks every question."""
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=tokens_per_layer), max_frames=8, reserve=128)
    memory, decoder = new_memory(writer), AnswerDecoder(model)
    append_frames(writer, memory, frames)
    answers, logits = [], []
    for text in QUESTIONS:
        prompt = model.prompts.question(text)
        embedded = model.embed_question(torch.tensor(prompt.ids, device=model.spec.device))
        hidden = model.forward(embedded.expand(1), SlotCache([memory], [len(embedded)], is_read_only=True))
        logits.append(model._network.lm_head(hidden[0, -1]).cpu())
        answer = Answer(scratch_copy(model, memory), prompt)
        decoder.step([answer])
        while not decoder.is_ended(answer) and len(answer.ids) < 8:
            decoder.step([answer])
        answers.append(model.prompts.decode(tuple(answer.ids)))
    keys = [memory.layer(layer).keys.cpu() for layer in range(memory.num_layers)]
    return Result(answers, torch.stack(logits), keys)


def scratch_copy(model: LlavaOnevision, memory: Memory) -> Memory:
    scratch = Memory(Slabs(model.spec.kv, slots=1, capacity=memory.slabs.capacity), 0)
    scratch.copy_from(memory)
    return scratch


def scene_frames(num_frames: int) -> Tensor:
    """A street at two frames a second. uint8 [F, 64, 64, 3]"""
    scene = Scene(7)
    return torch.stack([torch.from_numpy(scene.frame(frame / 2, 64, 64)) for frame in range(num_frames)])


@pytest.mark.parametrize(("num_frames", "tokens_per_layer"), [(24, 1_000), (96, 256)], ids=["whole", "compacted"])
def test_the_shipped_model_answers_on_a_gpu_as_on_the_cpu(num_frames: int, tokens_per_layer: int) -> None:
    """float32 on both: the same answers, and the same keys and logits to rounding, after compactions too."""
    shipped = registry.load_model("tiny", "cpu")
    assert isinstance(shipped, LlavaOnevision)
    frames = scene_frames(num_frames)

    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        on_cpu = compute(shipped, frames, tokens_per_layer)
        on_gpu = compute(on_device(shipped, "cuda"), frames, tokens_per_layer)

    assert on_gpu.answers == on_cpu.answers
    assert torch.allclose(on_gpu.logits, on_cpu.logits, atol=1e-2, rtol=1e-3)
    for mine, theirs in zip(on_gpu.keys, on_cpu.keys, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-2, rtol=1e-3)


def test_a_memory_in_bfloat16_on_a_gpu_is_compacted_and_asked() -> None:
    weights = network.build_model(vocabulary.build_tokenizer(), seed=0).to("cuda", torch.bfloat16)
    model = random_model(weights)
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128), max_frames=8, reserve=128)
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(40))
    decoder, answer = AnswerDecoder(model), Answer(scratch_copy(model, memory), model.prompts.question(QUESTIONS[0]))
    decoder.step([answer])
    decoder.step([answer])

    assert memory.lengths == [memory.prefix_length + 128] * memory.num_layers
    assert memory.layer(0).keys.dtype == torch.bfloat16
    assert len(answer.ids) == 2
    assert all(weights.device.type == "cuda" for weights in answer.attention_weights.values())
