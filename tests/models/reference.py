"""The reference of these tests: the decoder as transformers runs it, with its own attention and cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cache_store.tiers import MemoryConfig, PolicyName
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.slot_attention import ATTENTION_NAME
from models.vision_language_model import VideoLanguageModel


def plain_decoder(model: LlavaOnevision, implementation: str):  # type: ignore[no-untyped-def]
    """The decoder with an attention function of transformers; `restored_attention` puts ours back."""
    model._network.set_attn_implementation({"text_config": implementation, "vision_config": "sdpa"})
    return model.decoder


@contextmanager
def restored_attention(model: LlavaOnevision) -> Iterator[None]:
    """Puts the attention function of slots back at the end."""
    try:
        yield
    finally:
        model._network.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})


def whole_sequence(model: LlavaOnevision, frames: torch.Tensor) -> torch.Tensor:
    """Prefix and frames as one sequence. -> [1, N, E]"""
    prefix = model.embed_tokens(torch.tensor(model.prompts.prefix)).tokens
    return torch.cat((prefix, model.embed_frames(frames[:, None]).tokens.flatten(0, 1)))[None]


def large_writer(model: VideoLanguageModel) -> MemoryWriter:
    config = MemoryConfig(tokens_per_layer=1_000, policy=PolicyName.HERMES)
    return MemoryWriter(model, config, max_frames=8, reserve=128)


def more_slots(slabs, slots: int):  # type: ignore[no-untyped-def]
    return type(slabs)(slabs.shape, slots=slots, capacity=slabs.capacity)
