"""The seam between a memory and a model: what a video-language model must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cache_store.slabs import KVShape
from models.prompts import Prompts
from models.slot_cache import SlotCache


class ModelError(Exception):
    """Root of what is wrong with a model: ModelNotFound, ModelInvalid."""


class ModelNotFound(ModelError):
    """No model of that name, and no folder at that path."""


class ModelInvalid(ModelError):
    """The folder holds no model that can be used here."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the rest of the system must know of a model. `fingerprint` tells whose memories it can read.

    `max_positions` is where its positions end; `reliable_positions` is how far they were seen to be read well: a
    memory that fits below is kept there.
    """

    name: str
    fingerprint: str
    kv: KVShape
    rope_base: float
    max_positions: int
    reliable_positions: int
    tokens_per_frame: int
    frame_size: int  # pixels: frames come as squares

    @property
    def device(self) -> torch.device:
        return self.kv.device


class VideoLanguageModel(Protocol):
    """A decoder over frames and text that reads and writes memories instead of a cache of its own."""

    spec: ModelSpec
    prompts: Prompts

    def embed_frames(self, frames: Tensor) -> Tensor:
        """What the decoder sees of each frame. uint8 RGB [F, S, S, 3] -> [F, tokens_per_frame, E]"""
        ...

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """[T] -> [T, E]"""
        ...

    def embed_question(self, ids: Tensor) -> Tensor:
        """A question's tokens behind whatever ends the video in this family. [T] -> [T or more, E]"""
        ...

    def decode(self, embeddings: Tensor, running: SlotCache) -> Tensor:
        """Runs the decoder over B memories. [B, T, E] -> [B, T, E]

        The new keys and values are written behind the valid ones, not committed.
        """
        ...

    def next_token(self, hidden: Tensor) -> Tensor:
        """The likeliest next token of each. [B, E] -> [B]"""
        ...
