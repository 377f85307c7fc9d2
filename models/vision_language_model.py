"""The seam between a memory and a model: what a video-language model must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cache_store.slabs import KVShape
from models.embeddings import Embeddings
from models.frame_layout import FrameLayout
from models.generation_config import GenerationConfig
from models.prompts import Prompts


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the other rooms must know of a model.

    fingerprint: a checkpoint is restored only by a model of the same fingerprint. previous_fingerprint: the one under
    which the version before saved memories of this model, which are restored too. max_positions: where the model's
    positions end. reliable_positions: up to where the model was measured to answer well; a memory that fits below
    this limit stays below it. layout: which tokens frames have.
    """

    name: str
    fingerprint: str
    previous_fingerprint: str
    kv: KVShape
    max_positions: int
    reliable_positions: int
    layout: FrameLayout

    @property
    def device(self) -> torch.device:
        return self.kv.device


class ForwardPass(Protocol):
    """What a pass of the decoder reads and writes: a `SlotCache`, or a `DecodeStep`."""

    def positions(self) -> Tensor:
        """Positions of the new tokens on each axis. -> [A, 1, sum of T_b]"""
        ...


class VideoLanguageModel(Protocol):
    """A vision encoder and a decoder that reads and writes memories instead of a cache of its own.

    To add a family, write one file beside `models/llava_onevision.py` with a class that has these three attributes and
    five methods, and add it to `FAMILIES` in `models/registry.py`. Four of the methods wrap the family's own modules.
    `forward` calls the unmodified transformers decoder with the attention function of `models/slot_attention.py`.
    `docs/adding-a-model-family.md` lists the steps and the tests that must pass. Every method runs on the device
    thread, blocks until done, and runs without gradients.
    """

    spec: ModelSpec
    prompts: Prompts
    generation: GenerationConfig

    def embed_frames(self, groups: Tensor) -> Embeddings:
        """What the decoder reads for the cells of each group of frames. uint8 RGB [G, K, H, W, 3] -> [G, R · C, E]"""
        ...

    def embed_tokens(self, ids: Tensor) -> Embeddings:
        """[..., T] -> [..., T, E]"""
        ...

    def embed_question(self, ids: Tensor) -> Embeddings:
        """A question's tokens behind whatever ends the video in this family. [T] -> [T or more, E]"""
        ...

    def forward(self, embeddings: Embeddings, forward_pass: ForwardPass) -> Tensor:
        """One pass of the decoder over B memories, packed: prefill or decode. [1, sum of T_b, E] -> the same

        The new keys and values are written behind the valid ones of each memory. They are not committed.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token of each row. [B, E] -> [B, V]"""
        ...
