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
from models.embeddings import Embeddings
from models.frame_encoder import EncodedFrames
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

    def append(self, encoded: EncodedFrames, times_s: Tensor) -> None:
        """One step of frames of every stream, and their times. [B, F]"""
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

    def append(self, encoded: EncodedFrames, times_s: Tensor) -> None:
        if not self._passed:
            self.writer.prefill(self.memories, encoded, times_s)
            return
        num_frames = times_s.shape[1]
        for stream, memory in enumerate(self.memories):  # a different number of tokens passes for each
            passed, self._passed[stream] = self._passed[stream].tensor_split([num_frames])
            layout = self.writer.model.spec.layout
            groups = layout.by_group(passed).any(dim=1)
            if bool(groups.any()):
                frames = layout.frames_of_groups(groups, num_frames)
                chosen = encoded.part(stream, groups)
                self.writer.prefill([memory], chosen, times_s[stream, frames][None], passed[frames])

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
        self._num_frames = budget // model.spec.layout.max_tokens(1) * model.spec.layout.frames_per_group
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
        self._frames: list[EncodedFrames] = []
        self._times_s: list[Tensor] = []

    def append(self, encoded: EncodedFrames, times_s: Tensor) -> None:
        self._frames.append(encoded)
        self._times_s.append(times_s)
        if not self._is_uniform:
            max_steps = -(-self._num_frames // times_s.shape[1])
            del self._frames[:-max_steps], self._times_s[:-max_steps]

    def recall(
        self, stream: int, questions: Sequence[TimedQuestion]
    ) -> Iterator[tuple[Memory, Sequence[TimedQuestion]]]:
        times_s = torch.cat([step[stream] for step in self._times_s])
        layout = self._model.spec.layout
        groups = self._chosen(layout.num_groups(len(times_s)))
        stored = EncodedFrames(
            Embeddings.concat(*[step.cells.map(lambda cells: cells[stream]) for step in self._frames]).expand(1),
            self._frames[0].rows,
            self._frames[0].columns,
        )
        frames = layout.frames_of_groups(groups, len(times_s))
        self._writer.reset(self._memory)
        self._writer.prefill([self._memory], stored.part(0, groups), times_s[frames][None])
        yield self._memory, questions

    def _chosen(self, num_groups: int) -> Tensor:
        """Which of the stored groups are read. -> bool [G]"""
        num_read = min(self._model.spec.layout.num_groups(self._num_frames), num_groups)
        indices = torch.arange(num_groups - num_read, num_groups)
        if self._is_uniform:
            indices = torch.linspace(0, num_groups - 1, num_read).round().long()
        return torch.zeros(num_groups, dtype=torch.bool).index_fill(0, indices, value=True)

    @property
    def nbytes_per_camera(self) -> int:
        num_frames = sum(step.shape[1] for step in self._times_s) if self._is_uniform else self._num_frames
        return num_frames * PIXEL_NBYTES * self._model.spec.layout.square**2
