"""What scores a token: the attention weights that prompts put on it. The scores decide what a compaction evicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cache_store.memory import Memory
from cache_store.tiers import LayerPlan, PolicyName, Role
from models.packing import PackedTexts
from models.slot_cache import AttentionCapture
from models.vision_language_model import VideoLanguageModel
from ops import attention as attention_ops


class ImportanceScorer(Protocol):
    """Scores the cached tokens of memories without changing them."""

    num_positions: int  # that must be free behind a memory
    num_tokens: int  # read in one pass

    def score(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        """For each memory and layer, a score of each token after the prefix. -> B × L × [N_l], float32"""
        ...


class PromptedImportance:
    """Reads prompts over the memory in one packed pass. A token's score is the attention that they put on it.

    The hidden states go through all layers, so a score is the model's own attention; the published HERMES code projects
    every layer's query from the raw embeddings instead. query_rows: for each layer, which of the packed tokens score;
    None: none, every score is zero. reduce: from their attention weights to scores, [Hq, T, N] -> [N].
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        texts: PackedTexts,
        query_rows: Sequence[slice | None],
        reduce: Callable[[Tensor], Tensor],
    ) -> None:
        self.num_positions = texts.longest
        self.num_tokens = texts.num_tokens
        self._model = model
        self._texts = texts
        self._query_rows = query_rows
        self._reduce = reduce

    @torch.inference_mode()
    def score(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        capture = AttentionCapture(self._query_rows, self._reduce)
        self._texts.attend(self._model, memories, capture)
        return [
            [_scores(capture, layer, row, memory) for layer in range(memory.num_layers)]
            for row, memory in enumerate(memories)
        ]


def question_scorer(
    model: VideoLanguageModel,
    plans: Sequence[LayerPlan],
    reduce: Callable[[Tensor], Tensor] = attention_ops.peak_weight,
) -> ImportanceScorer:
    """Scores by a bank of short questions: a token's score is the peak attention that any of their tokens puts on it.

    Every question goes through all layers, as a user's would, so each layer keeps what its answers will need there. A
    mean over the bank would hide what one question needs behind what all the others attend to.
    """
    embedded = [model.embed_question(_tensor(model, ids)) for ids in model.prompts.guidance_questions]
    # A peak is the same however many questions begin with a token. A recurrent layer reads one question at a time.
    shares_starts = reduce is attention_ops.peak_weight and model.spec.kv.recurrent is None
    texts = PackedTexts(embedded, shares_starts=shares_starts)
    return PromptedImportance(model, texts, [slice(0, texts.num_tokens)] * len(plans), reduce)


def role_scorer(
    model: VideoLanguageModel,
    plans: Sequence[LayerPlan],
    reduce: Callable[[Tensor], Tensor] = attention_ops.peak_weight,
) -> ImportanceScorer:
    """Scores by one guidance prompt for each role of a layer; a token's score is the peak attention of its words.

    HERMES, section 3.2, but for two things (docs/accuracy.md): each prompt is read as a user's question is, behind what
    ends the video, and the peak over its words replaces their mean, which would hide what one of them needs. Layers
    that keep the newest tokens, whatever attention they get, have no scores, and their prompt is not read.
    """
    has_scores = any(plan.recency_share < 1 for plan in plans)  # without any, all prompts are read: a pass needs a text
    roles = [plan.role if plan.recency_share < 1 or not has_scores else None for plan in plans]
    prompts = {role: model.prompts.question(text).ids for role, text in role_texts(model).items() if role in roles}
    texts = PackedTexts([model.embed_question(_tensor(model, ids)) for ids in prompts.values()])
    rows = dict(zip(prompts, texts.spans, strict=True))
    return PromptedImportance(model, texts, [rows[role] if role else None for role in roles], reduce)


def role_texts(model: VideoLanguageModel) -> dict[Role, str]:
    """What HERMES reads for the layers of each role: local for shallow layers, global for deep ones, both for those
    between.
    """
    local, whole = model.prompts.texts.guidance_local, model.prompts.texts.guidance_global
    return {Role.SENSORY: local, Role.WORKING: f"{local} {whole}", Role.LONG_TERM: whole}


SCORERS: dict[PolicyName, Callable[[VideoLanguageModel, Sequence[LayerPlan]], ImportanceScorer]] = {
    PolicyName.QUESTIONS: question_scorer,
    PolicyName.HERMES: role_scorer,
}


def _tensor(model: VideoLanguageModel, ids: Sequence[int]) -> Tensor:
    return torch.tensor(ids, device=model.spec.device)


def _scores(capture: AttentionCapture, layer: int, row: int, memory: Memory) -> Tensor:
    """What was captured of a memory's tokens after the prefix; zeros where nothing was. -> [N_l]"""
    if layer in capture.weights:
        return capture.weights[layer][row][memory.prefix_length :]
    return torch.zeros(memory.lengths[layer] - memory.prefix_length, device=memory.slabs.shape.device)
