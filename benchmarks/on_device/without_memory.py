"""The ways without this memory: to keep everything and retrieve for each question, or to read the video again."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks import contenders
from benchmarks.on_device import answering, full_memories, pairs
from benchmarks.on_device.answering import FirstToken
from benchmarks.on_device.bare_forward import BareForward
from benchmarks.on_device.pairs import Pair
from benchmarks.stream_memories import Task
from cache_store.tiers import MemoryConfig
from models import frame_encoder
from models.answer_decoder import Answer, AnswerDecoder
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel

_FRAMES_PER_STEP = 4


@dataclass(frozen=True, slots=True)
class _Question:
    text: str


def retrieval(model: VideoLanguageModel, config: MemoryConfig, num_frames: int, *, rounds: int) -> Pair:
    """ReKV over a stream of so many frames, beside this memory with the same budget."""
    task = Task(model, batch=1, budget=config.tokens_per_layer, num_frames=num_frames)
    stored = contenders.named("rekv").make(task)
    for first in range(0, num_frames, _FRAMES_PER_STEP):
        frames = full_memories.noise_frames(model, 1, _FRAMES_PER_STEP)
        times_s = (first + torch.arange(_FRAMES_PER_STEP, dtype=torch.float64))[None] / 2
        stored.append(frame_encoder.encode(model, frames), times_s)
    decoder, prompt, slot = AnswerDecoder(model), answering.question_of(model), answering.own_slot(model)

    def retrieved() -> None:
        memory, _ = next(stored.recall(0, [_Question("what colour was the last car")]))
        slot.continue_from(memory)
        decoder.step([Answer(slot, prompt)])

    return pairs.measure(retrieved, _first_token(model, config), rounds=rounds)


def rereading(model: VideoLanguageModel, bare: BareForward, config: MemoryConfig, tokens: int, *, rounds: int) -> Pair:
    """The bare model reads frames of so many tokens again for the question, beside this memory."""
    num_frames = tokens // model.spec.layout.max_tokens(1)
    groups = model.spec.layout.group(full_memories.noise_frames(model, 1, num_frames)).flatten(0, 1)
    ids = torch.zeros(1, answering.QUESTION_TOKENS, dtype=torch.int64, device=model.spec.device)

    def read_again() -> None:
        cache = bare.empty_cache()
        bare.append(cache, model.embed_frames(groups).tokens.flatten(0, 1)[None])
        bare.next_tokens(cache, ids)

    return pairs.measure(read_again, _first_token(model, config), rounds=rounds)


def _first_token(model: VideoLanguageModel, config: MemoryConfig) -> FirstToken:
    writer = MemoryWriter(model, config, max_frames=_FRAMES_PER_STEP, reserve=answering.RESERVE)
    return FirstToken(model, full_memories.full(writer, 1)[0])
