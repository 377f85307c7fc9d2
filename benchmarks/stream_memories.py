"""How a contender takes in streams and what it puts before a question: the seam, and two of its three versions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.scorers import NoScores
from benchmarks.streams import FRAMES_PER_STEP, TimedQuestion
from cache_store import compaction, policies
from cache_store.memory import Memory
from cache_store.policies import Policy
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.importance import ImportanceScorer
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel

ANSWER_TOKENS = 256  # tokens and positions for a question and its answer
PIXEL_NBYTES = 3


class StreamMemory(Protocol):
    """What a contender remembers of several streams of one length. Appended to step by step, asked about each."""

    @property
    def upkeep_s(self) -> float:
        """Seconds spent on compaction so far."""
        ...

    def append(self, embedded: Tensor, times_s: Tensor) -> None:
        """One step of frames of every stream. [B, T, E], [B, F]"""
        ...

    def recall(
        self, stream: int, questions: Sequence[TimedQuestion]
    ) -> Iterator[tuple[Memory, Sequence[TimedQuestion]]]:
        """Memories to ask about a stream, each with the questions that it is for."""
        ...

    @property
    def nbytes_per_camera(self) -> int:
        """Bytes that the past of one camera takes now."""
        ...


class TimedWriter(MemoryWriter):
    """A MemoryWriter whose compaction can be watched, and can close the positions up each time.

    before_compaction: called with the memories after every step, before eviction. is_eager: positions are renumbered
    without gaps after every compaction (HERMES, section 3.4), not only when they run out.
    """

    before_compaction: Callable[[Sequence[Memory]], None] | None = None
    is_eager = False

    def compact(self, memories: Sequence[Memory]) -> None:
        if self.before_compaction is not None:
            self.before_compaction(memories)
        over_budget = []
        if self.is_eager:
            over_budget = [one for one in memories if compaction.is_due(one, self.config.tokens_per_layer)]
        super().compact(memories)
        began_s = time.perf_counter()
        for memory in over_budget:
            memory.reindex(max_span=self.max_position - memory.prefix_length, max_gap=1)
        self.upkeep_s += time.perf_counter() - began_s


class BoundedMemory:
    """Bounded memories, written as in the product, under any policy and scorer.

    passed: the tokens of each stream that a static gate lets pass, B × [F, P]; empty for no gate.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        config: MemoryConfig,
        batch: int,
        policy: Policy,
        scorer: ImportanceScorer,
        *,
        passed: Sequence[Tensor] = (),
        is_eager: bool = False,
    ) -> None:
        self._passed = list(passed)
        self.writer = TimedWriter(
            model, config, max_frames=FRAMES_PER_STEP, reserve=ANSWER_TOKENS, policy=policy, scorer=scorer
        )
        self.writer.is_eager = is_eager
        slabs = Slabs(model.spec.kv, slots=batch, capacity=self.writer.capacity)
        self.memories = [Memory(slabs, slot) for slot in range(batch)]
        for memory in self.memories:
            self.writer.reset(memory)

    @property
    def upkeep_s(self) -> float:
        return self.writer.upkeep_s

    def append(self, embedded: Tensor, times_s: Tensor) -> None:
        if not self._passed:
            self.writer.prefill(self.memories, embedded, times_s)
            return
        num_frames = times_s.shape[1]
        for stream, memory in enumerate(self.memories):  # a different number of tokens passes for each
            passed, self._passed[stream] = self._passed[stream].tensor_split([num_frames])
            has_tokens = passed.any(dim=1)
            if bool(has_tokens.any()):
                frames = embedded[stream].view(num_frames, -1, embedded.shape[-1])[has_tokens].flatten(0, 1)
                self.writer.prefill([memory], frames[None], times_s[stream, has_tokens][None], passed[has_tokens])

    def recall(
        self, stream: int, questions: Sequence[TimedQuestion]
    ) -> Iterator[tuple[Memory, Sequence[TimedQuestion]]]:
        yield self.memories[stream], questions

    @property
    def nbytes_per_camera(self) -> int:
        slabs = self.memories[0].slabs
        return slabs.nbytes // slabs.keys[0].shape[0]


class RereadFrames:
    """Stores frames and no cache. A question prefills some of them anew: spread over all time, or the newest."""

    upkeep_s = 0.0

    def __init__(self, model: VideoLanguageModel, budget: int, batch: int, *, is_uniform: bool) -> None:
        self._model = model
        self._num_frames = budget // model.spec.tokens_per_frame
        self._is_uniform = is_uniform
        self._writer = MemoryWriter(
            model,
            MemoryConfig(tokens_per_layer=budget, recent_frames=self._num_frames - 1),
            max_frames=self._num_frames,
            reserve=ANSWER_TOKENS,
            policy=Policy(policies.by_peak_attention),
            scorer=NoScores(),
        )
        self._memory = Memory(Slabs(model.spec.kv, slots=1, capacity=self._writer.capacity), 0)
        self._frames: list[Tensor] = []
        self._times_s: list[Tensor] = []

    def append(self, embedded: Tensor, times_s: Tensor) -> None:
        self._frames.append(embedded.view(len(embedded), times_s.shape[1], -1, embedded.shape[-1]))
        self._times_s.append(times_s)
        if not self._is_uniform:
            max_steps = -(-self._num_frames // times_s.shape[1])
            del self._frames[:-max_steps], self._times_s[:-max_steps]

    def recall(
        self, stream: int, questions: Sequence[TimedQuestion]
    ) -> Iterator[tuple[Memory, Sequence[TimedQuestion]]]:
        frames = torch.cat([step[stream] for step in self._frames])
        times_s = torch.cat([step[stream] for step in self._times_s])
        chosen = self._chosen(len(frames))
        self._writer.reset(self._memory)
        self._writer.prefill([self._memory], frames[chosen].flatten(0, 1)[None], times_s[chosen][None])
        yield self._memory, questions

    def _chosen(self, num_stored: int) -> Tensor | slice:
        if num_stored <= self._num_frames:
            return slice(None)
        if self._is_uniform:
            return torch.linspace(0, num_stored - 1, self._num_frames).round().long()
        return slice(-self._num_frames, None)

    @property
    def nbytes_per_camera(self) -> int:
        num_frames = sum(step.shape[1] for step in self._frames) if self._is_uniform else self._num_frames
        return num_frames * PIXEL_NBYTES * self._model.spec.frame_size**2
