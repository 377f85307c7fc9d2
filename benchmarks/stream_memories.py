"""How a contender takes in streams and what it puts before a question: the seam, and two of its three versions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from benchmarks.scorers import NoScores
from benchmarks.streams import FRAMES_PER_STEP
from cache_store import compaction, policies, reindexing
from cache_store.memory import Memory
from cache_store.policies import Policy
from cache_store.row_format import RowFormat
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.embeddings import Embeddings
from models.errors import InvalidBudget
from models.frame_encoder import EncodedFrames, FrameStep
from models.importance import ImportanceScorer
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel

ANSWER_TOKENS = 256  # tokens and positions for a question and its answer
PIXEL_NBYTES = 3


class HasText(Protocol):
    """A question, as far as a contender must know it."""

    @property
    def text(self) -> str: ...


_Question = TypeVar("_Question", bound=HasText)


@dataclass(frozen=True, slots=True)
class Task:
    """batch: streams at once; budget: tokens a layer; num_frames: of each stream.

    passed: the tokens of each stream that a static gate lets pass, for a contender with a gate. B × [F, P]
    reserve: tokens and positions for a question and its answer.
    """

    model: VideoLanguageModel
    batch: int
    budget: int
    num_frames: int
    passed: Sequence[Tensor] = ()
    reserve: int = ANSWER_TOKENS


class StreamMemory(Protocol):
    """What a contender remembers of several streams of one length. Appended to step by step, asked about each."""

    @property
    def upkeep_s(self) -> float:
        """Seconds spent on compaction so far."""
        ...

    def append(self, encoded: Sequence[EncodedFrames], times_s: Tensor) -> None:
        """One step of frames of every stream, and their times, at most FRAMES_PER_STEP. [B, F]"""
        ...

    def recall(self, stream: int, questions: Sequence[_Question]) -> Iterator[tuple[Memory, Sequence[_Question]]]:
        """Memories to ask about a stream, each with the questions that it is for."""
        ...

    @property
    def nbytes_per_camera(self) -> int:
        """Bytes that the past of one camera takes now."""
        ...


class TimedWriter(MemoryWriter):
    """A MemoryWriter whose compaction can be watched, and can close the positions up each time.

    before_compaction: called with each memory after each of its steps, before eviction. is_eager: positions are
    renumbered without gaps after every compaction (HERMES, section 3.4), not only when they run out.
    """

    before_compaction: Callable[[Memory], None] | None = None
    is_eager = False

    def commit(self, memory: Memory, step: FrameStep) -> None:
        super().commit(memory, step)
        if self.before_compaction is not None:
            self.before_compaction(memory)

    def compact(self, memories: Sequence[Memory]) -> None:
        over_budget = []
        if self.is_eager:
            over_budget = [one for one in memories if compaction.is_due(one, self.config.tokens_per_layer)]
        super().compact(memories)
        began_s = time.perf_counter()
        for memory in over_budget:
            reindexing.reindex(memory, max_span=self.max_position - memory.prefix_length, max_gap=1)
        self.upkeep_s += time.perf_counter() - began_s


class BoundedMemory:
    """Bounded memories, written as in the product, under any policy and scorer, in slots of any rows. is_gated: reads
    `task.passed` alone.

    They are compacted after every step, so that every contender is asked within its budget. waits_for_room: only where
    a slot has no room for another step, as in the product.
    """

    def __init__(
        self,
        task: Task,
        config: MemoryConfig,
        policy: Policy,
        scorer: ImportanceScorer,
        *,
        is_gated: bool = False,
        is_eager: bool = False,
        waits_for_room: bool = False,
        rows: RowFormat = RowFormat.EXACT,
    ) -> None:
        self._waits_for_room = waits_for_room
        self._passed = list(task.passed) if is_gated else []
        self.writer = TimedWriter(
            task.model, config, max_frames=FRAMES_PER_STEP, reserve=task.reserve, policy=policy, scorer=scorer
        )
        self.writer.is_eager = is_eager
        slabs = Slabs(task.model.spec.kv, slots=task.batch, capacity=self.writer.capacity, rows=rows)
        self.memories = [Memory(slabs, slot) for slot in range(task.batch)]
        for memory in self.memories:
            self.writer.reset(memory)

    @property
    def upkeep_s(self) -> float:
        return self.writer.upkeep_s

    def append(self, encoded: Sequence[EncodedFrames], times_s: Tensor) -> None:
        if self._passed:
            self._append_passed(encoded, times_s)
        else:
            self.writer.prefill(self.memories, encoded, times_s)
        if not self._waits_for_room:
            self.writer.compact(self.memories)

    def _append_passed(self, encoded: Sequence[EncodedFrames], times_s: Tensor) -> None:
        num_frames = times_s.shape[1]
        for stream, memory in enumerate(self.memories):  # a different number of tokens passes for each
            passed, self._passed[stream] = self._passed[stream].tensor_split([num_frames])
            layout = self.writer.model.spec.layout
            groups = layout.by_group(passed).any(dim=1)
            if bool(groups.any()):
                frames = layout.frames_of_groups(groups, num_frames)
                chosen = encoded[stream].part(groups)
                self.writer.prefill([memory], [chosen], times_s[stream, frames][None], [passed[frames]])

    def recall(self, stream: int, questions: Sequence[_Question]) -> Iterator[tuple[Memory, Sequence[_Question]]]:
        yield self.memories[stream], questions

    @property
    def nbytes_per_camera(self) -> int:
        slabs = self.memories[0].slabs
        return slabs.nbytes // slabs.keys[0].shape[0]


class RereadFrames:
    """Stores frames and no cache. A question prefills some of them anew: spread over all time, or the newest.

    Its answer is what a plain `generate` gives over those frames alone. Raises InvalidBudget.
    """

    upkeep_s = 0.0

    def __init__(self, task: Task, *, is_uniform: bool) -> None:
        self._model = task.model
        layout = task.model.spec.layout
        self._num_groups = task.budget // layout.max_tokens(1)
        if self._num_groups == 0:
            raise InvalidBudget(f"a budget of {task.budget} tokens: a frame has up to {layout.max_tokens(1)}")
        self._is_uniform = is_uniform
        self._writer = MemoryWriter(
            task.model,
            MemoryConfig(tokens_per_layer=task.budget, recent_frames=0),
            max_frames=self._num_groups * layout.frames_per_group,
            reserve=task.reserve,
            policy=Policy(policies.by_peak_attention),
            scorer=NoScores(),
        )
        self._memory = Memory(Slabs(task.model.spec.kv, slots=1, capacity=self._writer.capacity), 0)
        self._frames: list[Sequence[EncodedFrames]] = []
        self._times_s: list[Tensor] = []

    def append(self, encoded: Sequence[EncodedFrames], times_s: Tensor) -> None:
        self._frames.append(encoded)
        self._times_s.append(times_s)
        while not self._is_uniform and self._stored_groups(1) >= self._num_groups:
            del self._frames[0], self._times_s[0]

    def recall(self, stream: int, questions: Sequence[_Question]) -> Iterator[tuple[Memory, Sequence[_Question]]]:
        layout, chosen = self._model.spec.layout, self._chosen(self._stored_groups(0))
        self._writer.reset(self._memory)
        for run, times_s in self._runs(stream):
            here, chosen = chosen.tensor_split([layout.num_groups(len(times_s))])
            if bool(here.any()):
                frames = layout.frames_of_groups(here, len(times_s))
                self._writer.prefill([self._memory], [run.part(here)], times_s[frames][None])
        yield self._memory, questions

    def _runs(self, stream: int) -> Iterator[tuple[EncodedFrames, Tensor]]:
        """The stored steps of a stream, joined up to one that ends in a group that is not full."""
        start = 0
        for stop, step in enumerate(self._times_s, 1):
            if step.shape[1] % self._model.spec.layout.frames_per_group == 0 and stop < len(self._times_s):
                continue
            steps = self._frames[start:stop]
            cells = Embeddings.concat(*[step[stream].cells for step in steps])
            times_s = torch.cat([times_s[stream] for times_s in self._times_s[start:stop]])
            yield EncodedFrames(cells, steps[0][stream].rows, steps[0][stream].columns), times_s
            start = stop

    def _stored_groups(self, first_step: int) -> int:
        """Groups of frames in the stored steps, from a step on."""
        return sum(self._model.spec.layout.num_groups(step.shape[1]) for step in self._times_s[first_step:])

    def _chosen(self, num_groups: int) -> Tensor:
        """Which of the stored groups are read. -> bool [G]"""
        num_read = min(self._num_groups, num_groups)
        indices = torch.arange(num_groups - num_read, num_groups)
        if self._is_uniform:
            indices = torch.linspace(0, num_groups - 1, num_read).round().long()
        return torch.zeros(num_groups, dtype=torch.bool).index_fill(0, indices, value=True)

    @property
    def nbytes_per_camera(self) -> int:
        num_frames = self._num_groups * self._model.spec.layout.frames_per_group
        if self._is_uniform:
            num_frames = sum(step.shape[1] for step in self._times_s)
        return num_frames * PIXEL_NBYTES * self._model.spec.layout.square**2
