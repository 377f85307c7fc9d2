"""Writes frames into memories and keeps each memory within its bounds: prefill, compaction, positions."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store import checkpoint_codec, compaction, footprint, tiers, token_ids
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt
from cache_store.memory import Memory
from cache_store.policies import POLICIES, Policy
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import frame_encoder, policy_choice
from models.embeddings import Embeddings
from models.errors import InvalidBudget
from models.frame_encoder import EncodedFrames, Step
from models.frame_layout import FrameLayout, FrameTokens
from models.importance import SCORERS, ImportanceScorer
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel

_REINDEXED_SHARE = 0.75  # of the positions that are free: after a reindexing the next one is a few steps away


class MemoryWriter:
    """Everything that changes a camera's memory: prefix, frames, compaction, positions. Device thread only.

    max_frames: of one step. reserve: positions that always stay free for a question and its answer. policy and scorer:
    those of `policy_choice` unless given; the scorer's scores decide what the policy evicts. upkeep_s: seconds spent on
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
        chosen = policy_choice.choose(config.policy, model).policy
        self.policy = policy or POLICIES[chosen]
        self.recent_frames = config.recent_frames if self.policy.keeps_window else 0
        self.scorer = scorer or SCORERS[chosen](model, self.plans)
        reserve = max(reserve, self.scorer.num_positions)
        is_reliable = self._num_positions + reserve <= spec.reliable_positions
        self.max_position = (spec.reliable_positions if is_reliable else spec.max_positions) - reserve
        self._check_bounds()

    @property
    def capacity(self) -> int:
        """Tokens that a slot must hold: prefix, budget and one step of frames."""
        step = self._layout.max_tokens(self.max_frames)
        return footprint.slot_capacity(len(self.model.prompts.prefix), self.config.tokens_per_layer, step)

    @property
    def recent_groups(self) -> int:
        """Groups of frames in the recent window."""
        return self._layout.num_groups(self.recent_frames)

    @property
    def _num_positions(self) -> int:
        """Positions that a slot may need, so that no two tokens of a layer ever share one and the window has its own.

        The window is counted in the budget and once more: behind a gate its frames have more positions than tokens.
        """
        return self.capacity + self._window_positions

    @property
    def _layout(self) -> FrameLayout:
        return self.model.spec.layout

    @property
    def _window_positions(self) -> int:
        return self._layout.max_positions(self.recent_frames)

    def reset(self, memory: Memory) -> None:
        """Clears the memory and prefills the prompt's prefix."""
        memory.clear()
        ids = torch.tensor(self.model.prompts.prefix, device=self.model.spec.device)
        forward_pass = SlotCache([memory], [len(ids)])
        self.model.forward(Embeddings.pack([self.model.embed_tokens(ids)]), forward_pass)
        forward_pass.write_states()
        memory.commit(torch.zeros_like(ids), torch.zeros(len(ids), dtype=torch.float64, device=ids.device))
        memory.end_prefix()

    def append(
        self, memories: Sequence[Memory], frames: Tensor, times_s: Tensor, admitted: Tensor | None = None
    ) -> None:
        """Encodes one step of frames and prefills their tokens into each memory, in one batch; evicts over budget.

        frames: uint8 RGB [B, F, H, W, 3], at most `max_frames` each; times_s: [B, F], Unix seconds; admitted: bool
        [F, P], which of their cells are prefilled, all by default. A group of frames with no such cell is not encoded
        and takes no frame number.
        """
        if admitted is not None:
            has_cells = self._layout.frames_of_groups(self._layout.by_group(admitted).any(dim=1), len(admitted))
            if not bool(has_cells.any()):
                return
            frames, times_s, admitted = frames[:, has_cells], times_s[:, has_cells], admitted[has_cells]
        self.prefill(memories, frame_encoder.encode(self.model, frames), times_s, admitted)

    def prefill(
        self, memories: Sequence[Memory], encoded: EncodedFrames, times_s: Tensor, admitted: Tensor | None = None
    ) -> None:
        """`append` for frames that are encoded already; each group must have a cell that is admitted.

        times_s: [B, F]. A token's position is the same as if its whole frame were admitted. Whole or not at all: if it
        fails, every memory holds what it held before.
        """
        assert times_s.shape[1] <= self.max_frames, (times_s.shape[1], self.max_frames)
        origins_s = [
            float(times[0]) if memory.origin_s is None else memory.origin_s
            for memory, times in zip(memories, times_s, strict=True)
        ]
        steps = [
            frame_encoder.lay_out(self.model, encoded, row, times_s[row], origin_s, admitted)
            for row, origin_s in enumerate(origins_s)
        ]
        for memory, step in zip(memories, steps, strict=True):
            self._free_positions(memory, step.tokens.span)
        extents = [memory.extent for memory in memories]
        try:
            self._forward(memories, steps)
            for memory, step, origin_s in zip(memories, steps, origins_s, strict=True):
                self._commit(memory, step.tokens)
                memory.next_frame += self._layout.num_groups(times_s.shape[1])
                memory.origin_s = origin_s
            self.compact(memories)
        except Exception:
            for memory, extent in zip(memories, extents, strict=True):
                memory.rewind(extent)
            raise

    def _forward(self, memories: Sequence[Memory], steps: Sequence[Step]) -> None:
        """Writes the keys, values and states of steps, in one pass."""
        coordinates = self.model.spec.kv.positions.coordinates
        offsets = torch.cat([coordinates(step.tokens.offsets, step.tokens.ids) for step in steps], dim=1)
        forward_pass = SlotCache(memories, [len(step.tokens) for step in steps], offsets=offsets)
        self.model.forward(Embeddings.pack([step.embeddings for step in steps]), forward_pass)
        forward_pass.write_states()

    def _commit(self, memory: Memory, tokens: FrameTokens) -> None:
        device = self.model.spec.device
        ids = tokens.ids + token_ids.first_of(memory.next_frame)
        memory.commit(ids.to(device), tokens.times_s.to(device), tokens.offsets.to(device), tokens.span)

    def restore(self, memory: Memory, saved: Checkpoint) -> None:
        """Puts a checkpoint into a memory that is as `reset` left it. What it holds beyond the budget is evicted.

        The memory fits its bounds before anything reads it, whatever bounds it was saved with. Where it is over budget
        it is put together in a slot of its own size, scored there by the scorer's forward pass, and compacted by the
        policy, as after a step of frames. Raises CheckpointCorrupt if its shape is not the model's, or if its newest
        frames are over budget by themselves.
        """
        if saved.has_dense_ids:
            side = self._layout.side or self._layout.cell  # the version before had squares alone
            saved = checkpoint_codec.with_places(saved, *self._layout.grid(side, side))
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
                f"checkpoint: {roomy.longest - roomy.prefix_length} tokens in the newest {self.recent_frames} "
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
            )
            for memory, scores in zip(over_budget, self.scorer.score(over_budget), strict=True)
        ]
        for memory, left in zip(over_budget, remaining, strict=True):
            compaction.apply(memory, left)
        self.upkeep_s += time.perf_counter() - began_s

    def first_recent_id(self, memory: Memory) -> int:
        """The lowest token id of the recent window."""
        return token_ids.first_of(memory.next_frame - self.recent_groups)

    def _free_positions(self, memory: Memory, num_positions: int) -> None:
        """Renumbers the memory's positions if the next tokens would not fit below `max_position`."""
        last = self.max_position - num_positions
        if memory.next_position > last:
            free, window = last - memory.prefix_length, self._window_positions
            needed = memory.longest - memory.prefix_length + window
            max_span = min(max(int(_REINDEXED_SHARE * free), needed), free)
            memory.reindex(max_span=max_span, max_gap=self._layout.max_positions(1), window=window)

    def _check_bounds(self) -> None:
        budget, window = self.config.tokens_per_layer, self._layout.max_tokens(self.recent_frames)
        if budget < window + 2:
            raise InvalidBudget(
                f"memory.tokens_per_layer is {budget}: {self.recent_frames} recent frames of "
                f"{self._layout.max_tokens(1)} tokens and a summary need at least {window + 2}"
            )
        if self._num_positions > self.max_position:
            raise InvalidBudget(
                f"memory.tokens_per_layer is {budget}: with prefix, recent window and one step of frames a memory "
                f"needs {self._num_positions} positions, but the positions of {self.model.spec.name} end at "
                f"{self.max_position}, those for questions and answers left out; lower it"
            )
