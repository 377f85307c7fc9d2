"""Writes frames into memories and keeps each memory within its bounds: prefill, compaction, positions."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store import checkpoint_codec, compaction, footprint, tiers
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt
from cache_store.memory import Memory
from cache_store.policies import POLICIES, Policy
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.errors import InvalidBudget
from models.importance import SCORERS, ImportanceScorer
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel

_REINDEXED_SHARE = 0.75  # of the positions that are free: after a reindexing the next one is a few steps away


class MemoryWriter:
    """Everything that changes a camera's memory: prefix, frames, compaction, positions. Device thread only.

    max_frames: of one step. reserve: positions that always stay free for a question and its answer. policy and scorer:
    those of `config.policy` unless given; the scorer's scores decide what the policy evicts. upkeep_s: seconds spent on
    scoring and compaction so far.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        config: MemoryConfig,
        *,
        max_frames: int,
        reserve: int,
        policy: Policy | None = None,
        scorer: ImportanceScorer | None = None,
    ) -> None:
        spec = model.spec
        self.model = model
        self.config = config
        self.max_frames = max_frames
        self.upkeep_s = 0.0
        self.plans = tiers.plan_layers(spec.kv.num_layers, config)
        self.policy = policy or POLICIES[config.policy]
        self.scorer = scorer or SCORERS[config.policy](model, self.plans)
        reserve = max(reserve, self.scorer.num_positions)
        is_reliable = self._num_positions + reserve <= spec.reliable_positions
        self.max_position = (spec.reliable_positions if is_reliable else spec.max_positions) - reserve
        self._check_bounds()

    @property
    def capacity(self) -> int:
        """Tokens that a slot must hold: prefix, budget and one step of frames."""
        step = self._num_tokens(self.max_frames)
        return footprint.slot_capacity(len(self.model.prompts.prefix), self.config.tokens_per_layer, step)

    @property
    def _num_positions(self) -> int:
        """Positions that a slot may need, so that no two tokens of a layer ever share one and the window has its own.

        The window is counted in the budget and once more: behind a gate its frames have more positions than tokens.
        """
        return self.capacity + self._num_tokens(self.config.recent_frames)

    def reset(self, memory: Memory) -> None:
        """Clears the memory and prefills the prompt's prefix."""
        memory.clear()
        ids = torch.tensor(self.model.prompts.prefix, device=self.model.spec.device)
        self.model.forward(self.model.embed_tokens(ids)[None], SlotCache([memory], len(ids)))
        memory.commit(torch.zeros_like(ids), torch.zeros(len(ids), dtype=torch.float64, device=ids.device))
        memory.prefix_length = len(ids)

    def append(
        self, memories: Sequence[Memory], frames: Tensor, times_s: Tensor, admitted: Tensor | None = None
    ) -> None:
        """Encodes one step of frames and prefills their tokens into each memory, in one batch; evicts over budget.

        frames: uint8 RGB [B, F, S, S, 3], at most `max_frames` each; times_s: [B, F], Unix seconds; admitted: bool
        [F, P], which of their tokens are prefilled, all by default. A frame with no such token is not encoded and takes
        no frame number.
        """
        if admitted is not None:
            has_tokens = admitted.any(dim=1)
            if not bool(has_tokens.any()):
                return
            frames, times_s, admitted = frames[:, has_tokens], times_s[:, has_tokens], admitted[has_tokens]
        batch, num_frames = frames.shape[:2]
        embedded = self.model.embed_frames(frames.flatten(0, 1))
        self.prefill(memories, embedded.view(batch, self._num_tokens(num_frames), -1), times_s, admitted)

    def prefill(
        self, memories: Sequence[Memory], embedded: Tensor, times_s: Tensor, admitted: Tensor | None = None
    ) -> None:
        """`append` for frames that are encoded already; each must have a token that is admitted.

        embedded: [B, F · P, E]; times_s: [B, F]. A token's position is the same as if its whole frame were admitted.
        Whole or not at all: if it fails, every memory holds what it held before.
        """
        num_frames = times_s.shape[1]
        assert num_frames <= self.max_frames, (num_frames, self.max_frames)
        offsets = torch.arange(self._num_tokens(num_frames), device=embedded.device)
        if admitted is not None:
            offsets = offsets[admitted.flatten().to(embedded.device)]
        for memory in memories:
            self._free_positions(memory, self._num_tokens(num_frames))
        extents = [memory.extent for memory in memories]
        try:
            self.model.forward(embedded[:, offsets], SlotCache(memories, len(offsets), offsets=offsets))
            for memory, times in zip(memories, times_s.to(embedded.device), strict=True):
                token_ids = self._num_tokens(memory.next_frame) + offsets
                memory.commit(token_ids, times.repeat_interleave(self._num_tokens(1))[offsets], offsets)
                memory.next_frame += num_frames
            self.compact(memories)
        except Exception:
            for memory, extent in zip(memories, extents, strict=True):
                memory.rewind(extent)
            raise

    def restore(self, memory: Memory, saved: Checkpoint) -> None:
        """Puts a checkpoint into a memory that is as `reset` left it. What it holds beyond the budget is evicted.

        The memory fits its bounds before anything reads it, whatever bounds it was saved with. Where it is over budget
        it is put together in a slot of its own size, scored there by the scorer's forward pass, and compacted by the
        policy, as after a step of frames. Raises CheckpointCorrupt if its shape is not the model's, or if its newest
        frames are over budget by themselves.
        """
        longest = max((len(tokens) for tokens in saved.layers), default=0)
        if longest <= self.config.tokens_per_layer:
            checkpoint_codec.restore(memory, saved)
            self._free_positions(memory, 0)
            return
        slab = Slabs(self.model.spec.kv, slots=1, capacity=memory.prefix_length + longest)
        roomy = Memory(slab, 0)
        roomy.copy_from(memory)
        checkpoint_codec.restore(roomy, saved)
        self._free_positions(roomy, 0)
        self.compact([roomy])
        if compaction.is_due(roomy, self.config.tokens_per_layer):
            raise CheckpointCorrupt(
                f"checkpoint: {roomy.longest - roomy.prefix_length} tokens in the newest {self.config.recent_frames} "
                f"frames of a layer (limit {self.config.tokens_per_layer})"
            )
        memory.copy_from(roomy)

    def compact(self, memories: Sequence[Memory]) -> None:
        """Scores the memories over their budget and evicts, in all or in none, what the policy does not keep."""
        over_budget = [memory for memory in memories if compaction.is_due(memory, self.config.tokens_per_layer)]
        if not over_budget:
            return
        began_s = time.perf_counter()
        remaining = [
            compaction.decide(
                memory,
                scores,
                self.plans,
                policy=self.policy,
                budget=self.config.tokens_per_layer,
                first_recent_id=self.first_recent_id(memory),
                tokens_per_frame=self._num_tokens(1),
            )
            for memory, scores in zip(over_budget, self.scorer.score(over_budget), strict=True)
        ]
        for memory, left in zip(over_budget, remaining, strict=True):
            compaction.apply(memory, left)
        self.upkeep_s += time.perf_counter() - began_s

    def first_recent_id(self, memory: Memory) -> int:
        """The lowest token id of the recent window."""
        return self._num_tokens(memory.next_frame - self.config.recent_frames)

    def _free_positions(self, memory: Memory, num_tokens: int) -> None:
        """Renumbers the memory's positions if the next tokens would not fit below `max_position`."""
        last = self.max_position - num_tokens
        if memory.next_position > last:
            free, window = last - memory.prefix_length, self._num_tokens(self.config.recent_frames)
            needed = memory.longest - memory.prefix_length + window
            max_span = min(max(int(_REINDEXED_SHARE * free), needed), free)
            memory.reindex(max_span=max_span, max_gap=self._num_tokens(1), window=window)

    def _num_tokens(self, num_frames: int) -> int:
        return num_frames * self.model.spec.tokens_per_frame

    def _check_bounds(self) -> None:
        budget, window = self.config.tokens_per_layer, self._num_tokens(self.config.recent_frames)
        if budget < window + 2:
            raise InvalidBudget(
                f"memory.tokens_per_layer is {budget}: {self.config.recent_frames} recent frames of "
                f"{self._num_tokens(1)} tokens and a summary need at least {window + 2}"
            )
        if self._num_positions > self.max_position:
            raise InvalidBudget(
                f"memory.tokens_per_layer is {budget}: with prefix, recent window and one step of frames a memory "
                f"needs {self._num_positions} positions, but the positions of {self.model.spec.name} end at "
                f"{self.max_position}, those for questions and answers left out; lower it"
            )
