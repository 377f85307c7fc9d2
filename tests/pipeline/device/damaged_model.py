"""A model that fails for one memory of a pass, as a device does: out of memory, or numbers that are none."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from cache_store.memory import Memory
from models.decode_step import DecodeStep
from models.embeddings import Embeddings
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel
from tests.pipeline.device.fixed_steps import FixedSteps


class Damage(StrEnum):
    """What becomes of a pass that the victim is in."""

    NAN_HIDDEN = "hidden states"  # the victim's, and its keys and values
    OUT_OF_MEMORY = "out of memory"  # the same, and then there is no memory left
    NAN_LOGITS = "logits"


class DamagedModel:
    """The model itself, until `arm`: then a memory of the next pass that writes becomes the victim, until `disarm`.

    fixed_steps: those of this model, if it has any.
    """

    fixed_steps: FixedSteps | None = None

    def __init__(self, model: VideoLanguageModel) -> None:
        self.spec, self.prompts, self.generation = model.spec, model.prompts, model.generation
        self._model = model
        self._damage: Damage | None = None
        self._choice = 0
        self._victim: Memory | None = None
        self._newest: SlotCache | DecodeStep | None = None
        self.embed_frames, self.embed_tokens = model.embed_frames, model.embed_tokens
        self.embed_question = model.embed_question

    def arm(self, damage: Damage, choice: int) -> None:
        """choice: of the memories of the pass, by its place modulo their number."""
        self._damage, self._choice = damage, choice

    def disarm(self) -> Memory | None:
        """The victim, if a pass came."""
        victim, self._damage, self._victim = self._victim, None, None
        return victim

    def forward(self, embeddings: Embeddings, forward_pass: SlotCache | DecodeStep) -> Tensor:
        self._newest = forward_pass
        is_read_only = isinstance(forward_pass, SlotCache) and forward_pass.is_read_only
        if self._damage in (None, Damage.NAN_LOGITS) or is_read_only:
            return self._model.forward(embeddings, forward_pass)
        row = self._row_of_victim()
        if row is not None:
            span = forward_pass.spans[row] if isinstance(forward_pass, SlotCache) else slice(row, row + 1)
            tokens = embeddings.tokens.clone()
            tokens[:, span] = torch.nan
            embeddings = Embeddings(tokens, embeddings.deep)
        hidden = self._model.forward(embeddings, forward_pass)
        if row is not None and self._damage is Damage.OUT_OF_MEMORY:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        logits = self._model.logits(hidden)
        if self._damage is Damage.NAN_LOGITS and (row := self._row_of_victim()) is not None:
            logits = logits.clone()
            logits[row] = torch.nan
        return logits

    def _row_of_victim(self) -> int | None:
        memories = self._memories()
        if self._victim is None:
            self._victim = memories[self._choice % len(memories)]
        return next((row for row, memory in enumerate(memories) if memory is self._victim), None)

    def _memories(self) -> Sequence[Memory]:
        """Of the rows of the newest pass."""
        if isinstance(self._newest, SlotCache):
            return self._newest.memories
        assert self.fixed_steps is not None
        return self.fixed_steps.memories
