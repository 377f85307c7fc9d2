"""Frames into memories, and memories kept within their bounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store import compaction, tiers
from cache_store.memory import Memory
from cache_store.policies import POLICIES, Policy
from cache_store.tiers import MemoryConfig, Reindexing
from models.importance import GUIDES, ImportanceScorer
from models.slot_cache import SlotCache
from models.vision_language_model import ModelError, VideoLanguageModel
from ops import rope

_CLOSED_UP_SHARE = 0.75


class InvalidBudget(ModelError):
    """The memory's bounds do not fit the model: too small for its frames, or too large for its positions."""


class MemoryWriter:
    """Everything that changes a camera's memory: prefix, frames, compaction, positions. Device thread only.

    `reserve` positions are always left free for a question and its answer. The policy and its guidance are the
    configuration's unless others are given.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        config: MemoryConfig,
        *,
        max_frames: int,
        reserve: int,
        policy: Policy | None = None,
        guide: ImportanceScorer | None = None,
    ) -> None:
        spec = model.spec
        self.model = model
        self.config = config
        self.max_frames = max_frames
        self.plans = tiers.plan_layers(spec.kv.num_layers, config)
        self.policy = policy or POLICIES[config.policy]
        self.guidance = guide or GUIDES[self.policy.guide](model, self.plans)
        self.frequency = rope.frequencies(spec.kv.head_dim, spec.rope_base, spec.device)
        reserve = max(reserve, self.guidance.longest)
        is_reliable = self.capacity + reserve <= spec.reliable_positions
        self._last_position = (spec.reliable_positions if is_reliable else spec.max_positions) - reserve
        self._check_bounds()

    @property
    def capacity(self) -> int:
        """Tokens a slot must have room for: prefix, budget and one step of frames."""
        return len(self.model.prompts.prefix) + self.config.tokens_per_layer + self._tokens(self.max_frames)

    def begin(self, held: Memory) -> None:
        """Clears the memory and writes the prompt's prefix."""
        held.clear()
        ids = torch.tensor(self.model.prompts.prefix, device=self.model.spec.device)
        running = SlotCache([held], len(ids))
        self.model.decode(self.model.embed_tokens(ids)[None], running)
        held.commit(torch.zeros_like(ids), torch.zeros(len(ids), dtype=torch.float64, device=ids.device))
        held.prefix_length = len(ids)

    def feed(self, memories: Sequence[Memory], frames: Tensor, times_s: Tensor, passed: Tensor | None = None) -> None:
        """Reads one step of frames into each memory, in one batch, and compacts what is then over budget.

        frames: uint8 RGB [B, F, S, S, 3], at most `max_frames` each; times_s: [B, F], Unix seconds; passed: bool
        [F, P], which of their tokens are read, all unless given. A frame of which none is read is not even encoded,
        and takes no frame number.
        """
        if passed is not None:
            is_read = passed.any(dim=1)
            if not bool(is_read.any()):
                return
            frames, times_s, passed = frames[:, is_read], times_s[:, is_read], passed[is_read]
        batch, num_frames = frames.shape[:2]
        embedded = self.model.embed_frames(frames.flatten(0, 1))
        self.read(memories, embedded.view(batch, self._tokens(num_frames), -1), times_s, passed)

    def read(self, memories: Sequence[Memory], embedded: Tensor, times_s: Tensor, passed: Tensor | None = None) -> None:
        """Like `feed`, of frames that the model has embedded already, each of which has a token that is read.

        embedded: [B, F · P, E]; times_s: [B, F]. A token stands where it would if all of its frames' were read.
        """
        num_frames = times_s.shape[1]
        assert num_frames <= self.max_frames, (num_frames, self.max_frames)
        places = torch.arange(self._tokens(num_frames), device=embedded.device)
        if passed is not None:
            places = places[passed.flatten().to(embedded.device)]
        for held in memories:
            self._make_room_for_positions(held, self._tokens(num_frames))
        self.model.decode(embedded[:, places], SlotCache(memories, len(places), offsets=places))
        for held, times in zip(memories, times_s.to(embedded.device), strict=True):
            token_ids = self._tokens(held.next_frame) + places
            held.commit(token_ids, times.repeat_interleave(self._tokens(1))[places], places)
            held.next_frame += num_frames
        self.compact(memories)

    def compact(self, memories: Sequence[Memory]) -> None:
        """Cuts back to its budget whichever memory is over it."""
        over = [held for held in memories if compaction.is_due(held, self.config.tokens_per_layer)]
        if not over:
            return
        for held, attention in zip(over, self.guidance.attention(over), strict=True):
            compaction.compact(
                held,
                attention,
                self.plans,
                policy=self.policy,
                budget=self.config.tokens_per_layer,
                first_recent_id=self.first_recent_id(held),
                tokens_per_frame=self._tokens(1),
                frequency=self.frequency,
            )
            if self.config.reindexing is Reindexing.EAGER:
                held.reindex(self.frequency, room=self._last_position - held.prefix_length, longest_gap=1)

    def first_recent_id(self, held: Memory) -> int:
        """Tokens with this id or a higher one belong to the recent window."""
        return self._tokens(held.next_frame - self.config.recent_frames)

    def _make_room_for_positions(self, held: Memory, num_tokens: int) -> None:
        last = self._last_position - num_tokens
        if held.next_position > last:
            # Not all the room, so that the next renumbering is a few steps off.
            room = int(_CLOSED_UP_SHARE * (last - held.prefix_length))
            held.reindex(self.frequency, room=room, longest_gap=self._tokens(1))

    def _tokens(self, num_frames: int) -> int:
        return num_frames * self.model.spec.tokens_per_frame

    def _check_bounds(self) -> None:
        budget, window = self.config.tokens_per_layer, self._tokens(self.config.recent_frames)
        if budget < window + 2:
            raise InvalidBudget(
                f"memory.tokens_per_layer is {budget}: {self.config.recent_frames} recent frames of "
                f"{self._tokens(1)} tokens and a summary need at least {window + 2}"
            )
        if self.capacity > self._last_position:
            raise InvalidBudget(
                f"memory.tokens_per_layer is {budget}: with a step of frames, {self.capacity} tokens, but the "
                f"positions of {self.model.spec.name} end at {self._last_position}"
            )
