"""What a model answers about the same frames on one device and on another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.on_device import answering, full_memories, plain_models, serving_load
from cache_store.tiers import MemoryConfig
from models.answer_decoder import Answer
from models.memory_writer import MemoryWriter

_FRAMES_PER_STEP, _ANSWER_TOKENS = 4, 8


@dataclass(frozen=True, slots=True)
class Answered:
    """answers: their tokens. token_ids, keys: of each layer behind the prefix, on the CPU. L × [N], L × [H, N, D]"""

    answers: list[tuple[int, ...]]
    token_ids: list[Tensor]
    keys: list[Tensor]

    def same_tokens(self, other: Answered) -> float:
        """The least share, of any layer, of tokens that both memories hold, with the same key to rounding.

        Scores that are as good as equal are rounded by another device so that it keeps the other one of two tokens.
        """
        return min(
            _same_share(*layers) for layers in zip(self.token_ids, self.keys, other.token_ids, other.keys, strict=True)
        )


def _same_share(ids: Tensor, keys: Tensor, other_ids: Tensor, other_keys: Tensor) -> float:
    is_held, is_ours = torch.isin(ids, other_ids), torch.isin(other_ids, ids)
    is_same = torch.isclose(keys[:, is_held], other_keys[:, is_ours], atol=1e-2, rtol=1e-3).all(dim=2).all(dim=0)
    return float(is_same.sum()) / max(len(ids), len(other_ids))


def answers(name: str, device: torch.device, *, num_frames: int, tokens_per_layer: int) -> Answered:
    """What a model answers to five questions about a drawn street."""
    model = plain_models.load(name, device)
    config = MemoryConfig(tokens_per_layer=tokens_per_layer)
    writer = MemoryWriter(model, config, max_frames=_FRAMES_PER_STEP, reserve=answering.RESERVE)
    memory, street = full_memories.empty(writer, 1)[0], full_memories.street(model, num_frames)
    for first in range(0, num_frames, _FRAMES_PER_STEP):
        times_s = full_memories.times_s(model, memory, _FRAMES_PER_STEP)
        writer.append([memory], street[None, first : first + _FRAMES_PER_STEP], times_s[None])
    slots = answering.answer_slots(model, [memory])
    decoder = answering.decoder_of(model, slots)
    tokens = []
    for text in serving_load.QUESTIONS:
        slot = slots.acquire(memory)
        answer = Answer(slot, model.prompts.question(text))
        decoder.step([answer])
        while not decoder.is_ended(answer) and len(answer.ids) < _ANSWER_TOKENS:
            decoder.step([answer])
        tokens.append(tuple(answer.ids))
        slots.release(slot)
    layers = range(memory.num_layers)
    ids = [memory.after_prefix(layer).token_ids.cpu() for layer in layers]
    return Answered(tokens, ids, [memory.keys(layer)[:, memory.prefix_length :].cpu() for layer in layers])
