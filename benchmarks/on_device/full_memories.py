"""Memories that are full of frames at once, because to prefill thousands of tokens would take minutes."""

from __future__ import annotations

import torch
from torch import Tensor

from cache_store import token_ids
from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from cache_store.slabs import Slabs
from models.memory_writer import MemoryWriter
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel

_FRAMES_PER_S = 2.0
_SIDE = 448  # of the frames, where the family keeps their size


def empty(writer: MemoryWriter, number: int, rows: RowFormat = RowFormat.EXACT) -> list[Memory]:
    """Memories with their prefix alone."""
    slabs = Slabs(writer.model.spec.kv, slots=number, capacity=writer.capacity, rows=rows)
    memories = [Memory(slabs, slot) for slot in range(number)]
    for memory in memories:
        writer.reset(memory)
    return memories


def full(writer: MemoryWriter, number: int, rows: RowFormat = RowFormat.EXACT) -> list[Memory]:
    """Memories that hold as many tokens as a compaction leaves, with random keys and values.

    Later passes take what they take over real ones.
    """
    memories = empty(writer, number, rows)
    for memory in memories:
        _fill(writer, memory, writer.config.tokens_per_layer)
    return memories


def _fill(writer: MemoryWriter, memory: Memory, num_tokens: int) -> None:
    layout, shape = writer.model.spec.layout, memory.slabs.shape
    rows, columns = layout.grid(*frame_size(writer.model))
    generator = torch.Generator(shape.device).manual_seed(memory.slot)
    while (missing := num_tokens - (memory.longest - memory.prefix_length)) > 0:
        tokens = layout.tokens(times_s(writer.model, memory, layout.frames_per_group).tolist(), 0.0, rows, columns)
        tokens = tokens.at(torch.arange(min(missing, len(tokens))))
        size = (shape.num_kv_heads, len(tokens), shape.head_dim)
        for layer in range(shape.num_layers):
            keys, values = (
                torch.randn(size, generator=generator, device=shape.device).to(shape.dtype) for _ in range(2)
            )
            memory.write(layer, keys, values)
        ids = tokens.ids + token_ids.first_of(memory.next_frame)
        ids, seconds, offsets = (part.to(shape.device) for part in (ids, tokens.times_s, tokens.offsets))
        memory.commit(ids, seconds, offsets, tokens.span)
        memory.count_frames(1, 0.0)


def frame_size(model: VideoLanguageModel) -> tuple[int, int]:
    """Width and height of the frames."""
    return model.spec.layout.frame_fit(_SIDE, _SIDE)


def noise_frames(model: VideoLanguageModel, cameras: int, number: int) -> Tensor:
    """uint8 [B, F, H, W, 3]"""
    width, height = frame_size(model)
    return torch.randint(0, 256, (cameras, number, height, width, 3), dtype=torch.uint8)


def street(model: VideoLanguageModel, number: int) -> Tensor:
    """Frames of a drawn street at two a second. uint8 [F, H, W, 3]"""
    scene, (width, height) = Scene(seed=7), frame_size(model)
    return torch.stack([torch.from_numpy(scene.frame(frame / _FRAMES_PER_S, width, height)) for frame in range(number)])


def times_s(model: VideoLanguageModel, memory: Memory, number: int) -> Tensor:
    """The times of a memory's next frames. float64 [F]"""
    first = memory.next_frame * model.spec.layout.frames_per_group
    return (first + torch.arange(number, dtype=torch.float64)) / _FRAMES_PER_S
