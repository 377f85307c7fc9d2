"""The idea of ReKV: every key and value is stored for ever, and a question brings back the frames that fit it best."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.scorers import NoScores, UnsupportedModel
from benchmarks.stream_memories import BoundedMemory, HasText, Task
from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from cache_store.policies import Policy
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.embeddings import Embeddings
from models.frame_encoder import EncodedFrames
from models.llava_onevision import LlavaOnevision
from models.slot_cache import AttentionCapture, SlotCache
from ops import rope

_Question = TypeVar("_Question", bound=HasText)


class RetrievedFrames:
    """Stores all cached tokens and retrieves frames for each question.

    The stream is prefilled under a sliding window. Keys are stored unrotated. In each layer the question's attention
    on the mean of every frame chooses the frames. They are read in order of time, without gaps, the newest among them.
    """

    def __init__(self, task: Task, window: Policy) -> None:
        """Raises UnsupportedModel unless all frames have as many tokens and one position each."""
        if not isinstance(task.model, LlavaOnevision):
            raise UnsupportedModel("rekv", task.model, "LLaVA-OneVision")
        self._model = task.model
        self._per_frame = task.model.spec.layout.max_tokens(1)
        self._num_frames = task.budget // self._per_frame
        config = MemoryConfig(tokens_per_layer=max(task.budget, 256), recent_frames=0)
        self._window = BoundedMemory(task, config, window, NoScores())
        self._stored: list[list[list[CachedTokens]]] = [
            [[] for _ in range(task.model.spec.kv.num_layers)] for _ in range(task.batch)
        ]

    @property
    def upkeep_s(self) -> float:
        return self._window.upkeep_s

    def append(self, encoded: Sequence[EncodedFrames], times_s: Tensor) -> None:
        self._window.append(encoded, times_s)
        num_new = len(encoded[0].cells)
        for stored, memory in zip(self._stored, self._window.memories, strict=True):
            for index, layer in enumerate(stored):
                tokens = memory.layer(index)
                new = tokens.at(self._range(len(tokens) - num_new, len(tokens)))
                layer.append(self._moved(new, -new.positions))

    def recall(self, stream: int, questions: Sequence[_Question]) -> Iterator[tuple[Memory, Sequence[_Question]]]:
        layers = [CachedTokens.concat(*parts) for parts in self._stored[stream]]
        index = self._index(stream, layers)
        slabs = Slabs(self._model.spec.kv, slots=1, capacity=index.prefix_length + self._num_frames * self._per_frame)
        for question in questions:
            retrieved = Memory(slabs, 0)
            _copy_prefix(retrieved, index)
            for layer, frames in enumerate(self._best_frames(index, question)):
                places = (frames[:, None] * self._per_frame + self._range(0, self._per_frame)).flatten()
                chosen = layers[layer].at(places)
                retrieved.replace(layer, self._moved(chosen, index.prefix_length + self._range(0, len(chosen))))
            retrieved.next_position = retrieved.lengths[0]
            yield retrieved, [question]

    @property
    def nbytes_per_camera(self) -> int:
        num_tokens = sum(len(part) for part in self._stored[0][0])
        return num_tokens * self._model.spec.kv.footprint.kv_nbytes * self._model.spec.kv.num_layers

    def _moved(self, tokens: CachedTokens, distance: Tensor) -> CachedTokens:
        keys = rope.rotate(tokens.keys, distance, self._model.spec.kv.positions.frequency)
        return dataclasses.replace(tokens, keys=keys, positions=tokens.positions + distance)

    def _range(self, start: int, stop: int) -> Tensor:
        return torch.arange(start, stop, device=self._model.spec.device)

    def _index(self, stream: int, layers: Sequence[CachedTokens]) -> Memory:
        """A memory whose tokens are the means of all frames, all at the first position after the prefix."""
        num_frames = len(layers[0]) // self._per_frame
        live = self._window.memories[stream]
        index = Memory(Slabs(self._model.spec.kv, slots=1, capacity=live.prefix_length + num_frames), 0)
        _copy_prefix(index, live)
        first = self._range(0, num_frames) * self._per_frame
        for layer, tokens in enumerate(layers):
            means = tokens.at(first)
            means.keys.copy_(_per_frame_means(tokens.keys, num_frames))
            means.values.copy_(_per_frame_means(tokens.values, num_frames))
            means.positions.zero_()
            index.replace(layer, self._moved(means, torch.full_like(first, index.prefix_length)))
        index.next_position = index.prefix_length + 1
        return index

    def _best_frames(self, index: Memory, question: HasText) -> list[Tensor]:
        """For each layer the frames to retrieve, oldest first; the newest is always among them. -> L × [K]"""
        ids = torch.tensor(self._model.prompts.question(question.text).ids, device=self._model.spec.device)
        embedded = self._model.embed_question(ids)
        capture = AttentionCapture([slice(0, len(embedded))] * index.num_layers)
        forward_pass = SlotCache([index], [len(embedded)], is_read_only=True, capture=capture)
        self._model.forward(Embeddings.pack([embedded]), forward_pass)
        best = []
        for layer in range(index.num_layers):
            weights = capture.weights[layer][0][index.prefix_length :].clone()
            weights[-1] = torch.inf
            best.append(weights.topk(min(self._num_frames, len(weights))).indices.sort().values)
        return best


def _copy_prefix(target: Memory, source: Memory) -> None:
    target.lengths = [source.prefix_length] * source.num_layers
    target.prefix_length = source.prefix_length
    for layer in range(source.num_layers):
        target.layer(layer).overwrite(source.layer(layer).slice(0, source.prefix_length))


def _per_frame_means(tokens: Tensor, num_frames: int) -> Tensor:
    """[H, N, D] -> [H, F, D]"""
    heads, _, width = tokens.shape
    return tokens.view(heads, num_frames, -1, width).mean(dim=2)
