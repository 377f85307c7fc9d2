"""Where a model looks when it is asked what matters: the scores by which a memory is compacted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cache_store.memory import Memory
from cache_store.policies import Guide
from cache_store.tiers import LayerPlan, Role
from models.packing import PackedTexts
from models.slot_cache import AttentionCapture
from models.vision_language_model import VideoLanguageModel
from ops import attention as attention_ops


class ImportanceScorer(Protocol):
    """Scores the cached tokens of memories and touches none of them."""

    longest: int  # positions that it needs free behind a memory
    num_tokens: int  # that a pass reads

    def attention(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        """For each memory, layer by layer, a weight on each token after the prefix. -> B × L × [N_l], float32"""
        ...


class PromptedImportance:
    """Texts read over the memory in one pass; a token's score is what they look at it.

    The hidden states go through all layers, so a score is the model's own attention (the published code projects
    every layer's query from the raw embeddings). rows: which of the packed texts' tokens score each layer.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        texts: PackedTexts,
        rows: Sequence[slice],
        reduce: Callable[[Tensor], Tensor],
    ) -> None:
        self.longest = texts.longest
        self.num_tokens = texts.places[-1].stop
        self._model = model
        self._texts = texts
        self._rows = rows
        self._reduce = reduce

    @torch.inference_mode()
    def attention(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        capture = AttentionCapture(self._rows, self._reduce)
        self._texts.read(self._model, memories, capture)
        return [
            [capture.weights[layer][which][held.prefix_length :] for layer in range(held.num_layers)]
            for which, held in enumerate(memories)
        ]


class NoImportance:
    """For policies that do not ask what the model looks at: every weight is zero."""

    longest = 0
    num_tokens = 0

    def attention(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        return [
            [torch.zeros(length - held.prefix_length, device=held.slabs.shape.device) for length in held.lengths]
            for held in memories
        ]


def by_questions(
    model: VideoLanguageModel,
    plans: Sequence[LayerPlan],
    reduce: Callable[[Tensor], Tensor] = attention_ops.peak_weight,
) -> ImportanceScorer:
    """A bank of questions as people ask them; a token's score is the most that any of their words looks at it.

    Every question reads through all layers, as it would if somebody asked it, so a layer keeps what its answers
    will need there. A mean over the bank would drown what one question needs in what all the others look at.
    """
    embedded = [model.embed_question(_ids(model, question)) for question in model.prompts.guidance_questions]
    texts = PackedTexts(embedded)
    everything = slice(0, texts.places[-1].stop)
    return PromptedImportance(model, texts, [everything] * len(plans), reduce)


def by_role(model: VideoLanguageModel, plans: Sequence[LayerPlan]) -> ImportanceScorer:
    """HERMES, section 3.2: a local prompt for shallow layers, a global one for deep, both in one for those between."""
    ids = role_prompts(model)
    texts = PackedTexts([model.embed_tokens(_ids(model, prompt)) for prompt in ids.values()])
    rows = dict(zip(ids, texts.places, strict=True))
    return PromptedImportance(model, texts, [rows[plan.role] for plan in plans], attention_ops.mean_weight)


def role_prompts(model: VideoLanguageModel) -> dict[Role, tuple[int, ...]]:
    """Which prompt HERMES reads for the layers of each role."""
    local, whole = model.prompts.guidance_local, model.prompts.guidance_global
    return {Role.SENSORY: local, Role.WORKING: local + whole, Role.LONG_TERM: whole}


def without(model: VideoLanguageModel, plans: Sequence[LayerPlan]) -> ImportanceScorer:
    """None at all."""
    return NoImportance()


GUIDES: dict[Guide, Callable[[VideoLanguageModel, Sequence[LayerPlan]], ImportanceScorer]] = {
    Guide.QUESTIONS: by_questions,
    Guide.ROLES: by_role,
    Guide.NONE: without,
}


def _ids(model: VideoLanguageModel, ids: Sequence[int]) -> Tensor:
    return torch.tensor(ids, device=model.spec.device)
