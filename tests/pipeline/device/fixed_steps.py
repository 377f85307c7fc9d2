"""Decode steps of fixed shapes without a GPU: what a CUDA graph replays there is computed each time."""

from __future__ import annotations

from collections.abc import Sequence

from cache_store.memory import Memory
from models.decode_graphs import Decoded, DecodeGraphs
from models.decode_step import AnswerSlabs
from models.errors import GraphNotRecorded
from models.vision_language_model import VideoLanguageModel


class FixedSteps(DecodeGraphs):
    """Those of a model. memories: of the rows of the newest one, in their order."""

    memories: Sequence[Memory] = ()

    def __init__(self, model: VideoLanguageModel, slabs: AnswerSlabs) -> None:
        super().__init__(model, slabs, lambda step, _: step, on_failure=_raise)

    def decode(self, memories: Sequence[Memory], token_ids: Sequence[int]) -> Decoded | None:
        self.memories = memories
        return super().decode(memories, token_ids)


def _raise(error: GraphNotRecorded) -> None:
    raise error
