"""Writes frames into memories and keeps each memory within its bounds: prefill, compaction, positions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from cache_store import compaction, footprint, reindexing, tiers, token_ids
from cache_store.memory import Memory
from cache_store.policies import POLICIES, Policy
from cache_store.tiers import MemoryConfig
from models import frame_encoder, policy_choice
from models.embeddings import Embeddings
from models.errors import InvalidBudget, NotFinite
from models.frame_encoder import EncodedFrames, FrameStep
from models.frame_layout import FrameLayout
from models.importance import SCORERS, ImportanceScorer
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel
from ops import transfer

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
        self,
        memories: Sequence[Memory],
        frames: Iterable[Tensor],
        times_s: Iterable[Tensor],
        admitted: Iterable[Tensor | None] | None = None,
    ) -> list[list[int]]:
        """Encodes a step of frames for each memory, prefills their tokens, and makes room, all in one batch each.

        A step that fails is in no memory, see `prefill_steps`; it is in all of them if only making room fails.

        Of each memory, frames: uint8 RGB [F, H, W, 3], at most `max_frames`; times_s: [F], Unix seconds; admitted: bool
        [F, P], which of their cells are prefilled, all by default. A group of frames with no such cell is not encoded
        and takes no frame number. Returns how many tokens each group got that was appended.
        """
        steps = frame_encoder.steps(self.model, memories, frames, times_s, admitted or [None] * len(memories))
        present = [(memory, step) for memory, step in zip(memories, steps, strict=True) if step is not None]
        if present:
            self._prefill_and_compact([memory for memory, _ in present], [step for _, step in present])
        return [step.group_sizes if step is not None else [] for step in steps]

    def prefill(
        self,
        memories: Sequence[Memory],
        encoded: Sequence[EncodedFrames],
        times_s: Iterable[Tensor],
        admitted: Iterable[Tensor | None] | None = None,
    ) -> list[list[int]]:
        """`append` for frames that are encoded already; each group must have a cell that is admitted."""
        every = zip(memories, encoded, times_s, admitted or [None] * len(memories), strict=True)
        steps = [frame_encoder.lay_out(self.model, *step) for step in every]
        self._prefill_and_compact(memories, steps)
        return [step.group_sizes for step in steps]

    def _prefill_and_compact(self, memories: Sequence[Memory], steps: Sequence[FrameStep]) -> None:
        self.prefill_steps(memories, steps)
        self._make_room(memories, steps)

    def prefill_steps(self, memories: Sequence[Memory], steps: Sequence[FrameStep]) -> None:
        """Prefills steps of `frame_encoder.steps`. A memory whose slot has no room for its step is compacted first.

        A token's position is the same as if its whole frame were admitted. After the step a memory may hold more than
        its budget, until it is compacted or gets the next step. Whole or not at all: if it fails, every memory holds
        what it held before, or what a compaction before the step left of that. Raises NotFinite if the model computed
        NaN or infinity.
        """
        assert max(step.num_frames for step in steps) <= self.max_frames, self.max_frames
        self._make_room(memories, steps)
        for memory, step in zip(memories, steps, strict=True):
            self.free_positions(memory, step.span)
        extents = [memory.extent for memory in memories]
        try:
            self._forward(memories, steps)
            for memory, step in zip(memories, steps, strict=True):
                self.commit(memory, step)
        except Exception:
            for memory, extent, step in zip(memories, extents, steps, strict=True):
                memory.rewind(extent)
                memory.blank(len(step.tokens))
            raise

    def _forward(self, memories: Sequence[Memory], steps: Sequence[FrameStep]) -> None:
        """Writes the keys, values and states of steps, in one pass."""
        coordinates = self.model.spec.kv.positions.coordinates
        offsets = torch.cat([coordinates(step.tokens.offsets, step.tokens.ids) for step in steps], dim=1)
        forward_pass = SlotCache(memories, [len(step.tokens) for step in steps], offsets=offsets)
        hidden = self.model.forward(Embeddings.pack([step.embeddings for step in steps]), forward_pass)
        if not bool(hidden.isfinite().all()):
            raise NotFinite(f"{len(memories)} steps of frames: the model's hidden states are not finite")
        forward_pass.write_states()

    def commit(self, memory: Memory, step: FrameStep) -> None:
        """Makes the tokens of a step valid, whose keys and values the forward pass has written."""
        tokens = step.tokens
        fields = (tokens.ids + token_ids.first_of(memory.next_frame), tokens.times_s, tokens.offsets)
        ids, times_s, offsets = (transfer.to_device(field, self.model.spec.device) for field in fields)
        memory.commit(ids, times_s, offsets, step.span)
        memory.count_frames(self._layout.num_groups(step.num_frames), step.origin_s)

    def _make_room(self, memories: Sequence[Memory], steps: Sequence[FrameStep]) -> None:
        """Compacts each memory that has no room for a step like its own. In all or in none of them."""
        pairs = zip(memories, steps, strict=True)
        self.compact([memory for memory, step in pairs if not self.has_room(memory, step)])

    def has_room(self, memory: Memory, step: FrameStep) -> bool:
        """Whether the memory's slot, and its positions, have room for one more step like this one."""
        # Behind a gate a step has fewer tokens than positions; closed up, those of the memory and the window are left.
        last_position = memory.longest + self._window_positions + step.span
        return memory.longest + len(step.tokens) <= self.capacity and last_position <= self.max_position

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

    def free_positions(self, memory: Memory, num_positions: int) -> None:
        """Renumbers the memory's positions if the next tokens would not fit below `max_position`."""
        last = self.max_position - num_positions
        if memory.next_position > last:
            free, window = last - memory.prefix_length, self._window_positions
            needed = memory.longest - memory.prefix_length + window
            max_span = min(max(int(_REINDEXED_SHARE * free), needed), free)
            reindexing.reindex(memory, max_span=max_span, max_gap=self._layout.max_positions(1), window=window)

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
