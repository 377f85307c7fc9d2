"""How the contenders take in a stream and what they put before a question: one seam, three ways."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.streams import FRAMES_PER_STEP, Asked
from cache_store import memory, policies
from cache_store.memory import CachedTokens, Memory
from cache_store.policies import Guide, Policy
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.importance import ImportanceScorer
from models.memory_writer import MemoryWriter
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel
from ops import rope

QUESTION_ROOM = 256  # tokens and positions for a question and its answer
FRAME_NBYTES = 3  # of a pixel


class Reader(Protocol):
    """Takes in several streams of one length, step by step, and can be asked about each."""

    @property
    def upkeep_s(self) -> float:
        """Spent on compaction so far."""
        ...

    def read(self, embedded: Tensor, times_s: Tensor) -> None:
        """One step of frames of every stream. [B, T, E], [B, F]"""
        ...

    def recall(self, stream: int, asked: Sequence[Asked]) -> Iterator[tuple[Memory, Sequence[Asked]]]:
        """What the questions are to be read over: memories, and which of the questions each is for."""
        ...

    @property
    def nbytes_per_camera(self) -> int:
        """What one camera's past takes up now."""
        ...


class TimedKeeper(MemoryWriter):
    """Knows what compaction took. `before_compaction` sees the memories after every step, whole."""

    upkeep_s = 0.0
    before_compaction: Callable[[Sequence[Memory]], None] | None = None

    def compact(self, memories: Sequence[Memory]) -> None:
        if self.before_compaction is not None:
            self.before_compaction(memories)
        started_s = time.perf_counter()
        super().compact(memories)
        self.upkeep_s += time.perf_counter() - started_s


class Streaming:
    """A bounded memory, as the product has it, under any policy and guidance.

    passed: what a static gate lets pass of each stream, B × [F, P]; nothing for no gate.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        config: MemoryConfig,
        batch: int,
        policy: Policy,
        guide: ImportanceScorer | None = None,
        passed: Sequence[Tensor] = (),
    ) -> None:
        self._passed = list(passed)
        self.keeper = TimedKeeper(
            model, config, max_frames=FRAMES_PER_STEP, reserve=QUESTION_ROOM, policy=policy, guide=guide
        )
        room = Slabs(model.spec.kv, slots=batch, capacity=self.keeper.capacity)
        self.memories = [Memory(room, slot) for slot in range(batch)]
        for held in self.memories:
            self.keeper.begin(held)

    @property
    def upkeep_s(self) -> float:
        return self.keeper.upkeep_s

    def read(self, embedded: Tensor, times_s: Tensor) -> None:
        if not self._passed:
            self.keeper.read(self.memories, embedded, times_s)
            return
        num_frames = times_s.shape[1]
        for which, held in enumerate(self.memories):  # each takes a different number of tokens
            passed, self._passed[which] = self._passed[which].tensor_split([num_frames])
            is_read = passed.any(dim=1)
            if bool(is_read.any()):
                frames = embedded[which].view(num_frames, -1, embedded.shape[-1])[is_read]
                self.keeper.read([held], frames.flatten(0, 1)[None], times_s[which, is_read][None], passed[is_read])

    def recall(self, stream: int, asked: Sequence[Asked]) -> Iterator[tuple[Memory, Sequence[Asked]]]:
        yield self.memories[stream], asked

    @property
    def nbytes_per_camera(self) -> int:
        return _nbytes(self.memories[0])


class Rereading:
    """Keeps frames, no cache; when asked, reads those that it chooses anew. `is_uniform`: spread over all time, else
    the newest."""

    upkeep_s = 0.0

    def __init__(self, model: VideoLanguageModel, budget: int, batch: int, *, is_uniform: bool) -> None:
        self._model = model
        self._num_frames = budget // model.spec.tokens_per_frame
        self._is_uniform = is_uniform
        config = MemoryConfig(tokens_per_layer=budget, recent_frames=self._num_frames - 1)
        nothing = Policy(policies.by_peak_attention, Guide.NONE)
        self._keeper = MemoryWriter(model, config, max_frames=self._num_frames, reserve=QUESTION_ROOM, policy=nothing)
        self._memory = Memory(Slabs(model.spec.kv, slots=1, capacity=self._keeper.capacity), 0)
        self._seen: list[Tensor] = []
        self._times: list[Tensor] = []

    def read(self, embedded: Tensor, times_s: Tensor) -> None:
        self._seen.append(embedded.view(len(embedded), times_s.shape[1], -1, embedded.shape[-1]))
        self._times.append(times_s)
        if not self._is_uniform:
            most = -(-self._num_frames // times_s.shape[1])
            del self._seen[:-most], self._times[:-most]

    def recall(self, stream: int, asked: Sequence[Asked]) -> Iterator[tuple[Memory, Sequence[Asked]]]:
        frames = torch.cat([step[stream] for step in self._seen])
        times = torch.cat([step[stream] for step in self._times])
        newest = len(frames) - 1
        places = (
            torch.linspace(0, newest, self._num_frames).round().long()
            if self._is_uniform
            else slice(-self._num_frames, None)
        )
        if newest < self._num_frames:
            places = slice(None)
        self._keeper.begin(self._memory)
        self._keeper.read([self._memory], frames[places].flatten(0, 1)[None], times[places][None])
        yield self._memory, asked

    @property
    def nbytes_per_camera(self) -> int:
        held = sum(step.shape[1] for step in self._seen) if self._is_uniform else self._num_frames
        return held * FRAME_NBYTES * self._model.spec.frame_size**2


class Retrieving:
    """ReKV's idea: every key and value is kept, for ever; a question brings back the frames that fit it best.

    The stream is read under a sliding window; keys are stored unrotated. In each layer the question's attention on the
    mean of every frame chooses; the chosen frames and the newest ones stand one after the other when it is read.
    """

    def __init__(self, model: VideoLanguageModel, budget: int, batch: int, window: Policy) -> None:
        self._model = model
        self._per_frame = model.spec.tokens_per_frame
        self._num_frames = budget // self._per_frame
        self._window = Streaming(model, MemoryConfig(tokens_per_layer=max(budget, 256), recent_frames=0), batch, window)
        self._stored: list[list[list[CachedTokens]]] = [
            [[] for _ in range(model.spec.kv.num_layers)] for _ in range(batch)
        ]

    @property
    def upkeep_s(self) -> float:
        return self._window.upkeep_s

    def read(self, embedded: Tensor, times_s: Tensor) -> None:
        self._window.read(embedded, times_s)
        num_new = embedded.shape[1]
        for stored, held in zip(self._stored, self._window.memories, strict=True):
            for index, layer in enumerate(stored):
                tokens = held.layer(index)
                new = tokens.at(torch.arange(len(tokens) - num_new, len(tokens)))
                layer.append(self._moved(new, -new.positions))

    def recall(self, stream: int, asked: Sequence[Asked]) -> Iterator[tuple[Memory, Sequence[Asked]]]:
        layers = [memory.joined(*parts) for parts in self._stored[stream]]
        index = self._index(stream, layers)
        room = Slabs(self._model.spec.kv, slots=1, capacity=index.prefix_length + self._num_frames * self._per_frame)
        for item in asked:
            found = Memory(room, 0)
            self._copy_prefix(found, index)
            for layer, frames in enumerate(self._best(index, item)):
                places = (frames[:, None] * self._per_frame + torch.arange(self._per_frame)).flatten()
                chosen = layers[layer].at(places)
                found.replace(layer, self._moved(chosen, index.prefix_length + torch.arange(len(chosen))))
            found.next_position = found.lengths[0]
            yield found, [item]

    @property
    def nbytes_per_camera(self) -> int:
        kept = sum(len(part) for part in self._stored[0][0])
        return kept * self._model.spec.kv.nbytes_per_token * self._model.spec.kv.num_layers

    def _moved(self, tokens: CachedTokens, distance: Tensor) -> CachedTokens:
        keys = rope.rotate(tokens.keys, distance, self._window.keeper.frequency)
        return CachedTokens(
            keys, tokens.values, tokens.positions + distance, tokens.token_ids, tokens.counts, tokens.times_s
        )

    def _index(self, stream: int, layers: Sequence[CachedTokens]) -> Memory:
        """A memory whose tokens are the means of all frames, all in the first place after the prefix."""
        num_frames = len(layers[0]) // self._per_frame
        live = self._window.memories[stream]
        room = Slabs(self._model.spec.kv, slots=1, capacity=live.prefix_length + num_frames)
        index = Memory(room, 0)
        self._copy_prefix(index, live)
        first = torch.arange(num_frames) * self._per_frame
        for layer, tokens in enumerate(layers):
            means = tokens.at(first)
            means.keys.copy_(_per_frame_means(tokens.keys, num_frames))
            means.values.copy_(_per_frame_means(tokens.values, num_frames))
            means.positions.zero_()
            index.replace(layer, self._moved(means, torch.full((num_frames,), index.prefix_length)))
        index.next_position = index.prefix_length + 1
        return index

    def _best(self, index: Memory, item: Asked) -> list[Tensor]:
        """For each layer the frames to bring back, oldest first; the newest is always among them."""
        ids = torch.tensor(self._model.prompts.question(item.question.text).ids)
        embedded = self._model.embed_question(ids)
        capture = AttentionCapture([slice(0, len(embedded))] * index.num_layers)
        self._model.decode(embedded[None], SlotCache([index], len(embedded), is_read_only=True, capture=capture))
        found = []
        for layer in range(index.num_layers):
            weights = capture.weights[layer][0][index.prefix_length :].clone()
            weights[-1] = torch.inf
            found.append(weights.topk(min(self._num_frames, len(weights))).indices.sort().values)
        return found

    def _copy_prefix(self, target: Memory, source: Memory) -> None:
        target.lengths = [source.prefix_length] * source.num_layers
        target.prefix_length = source.prefix_length
        for layer in range(source.num_layers):
            target.layer(layer).overwrite(source.layer(layer).slice(0, source.prefix_length))


def _per_frame_means(tokens: Tensor, num_frames: int) -> Tensor:
    """[H, N, D] -> [H, F, D]"""
    heads, _, width = tokens.shape
    return tokens.view(heads, num_frames, -1, width).mean(dim=2)


def _nbytes(held: Memory) -> int:
    return held.slabs.nbytes // held.slabs.keys[0].shape[0]
