"""What scores a token in the contenders: the product's scorers, and variants that only benchmarks use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cache_store import tiers
from cache_store.memory import Memory
from cache_store.tiers import MemoryConfig, Role
from models import importance
from models.importance import ImportanceScorer, PromptedImportance
from models.llava_onevision import LlavaOnevision
from models.packing import PackedTexts
from models.qwen3_vl import Qwen3VL
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel
from ops import attention as attention_ops

MakeScorer = Callable[[VideoLanguageModel], ImportanceScorer]


class UnsupportedModel(ValueError):
    """A contender that reads some families alone was given a model of another."""

    def __init__(self, contender: str, model: VideoLanguageModel, families: str) -> None:
        super().__init__(f"{contender} reads {families} alone: model {model.spec.name!r} is a {type(model).__name__}")


class NoScores:
    """For policies that do not read attention: every score is zero."""

    num_positions = 0
    num_tokens = 0

    def score(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        return [
            [torch.zeros(length - memory.prefix_length, device=memory.slabs.shape.device) for length in memory.lengths]
            for memory in memories
        ]


class UnpropagatedImportance:
    """The published HERMES code: queries of each layer projected from the raw embeddings, not from the layer before.

    prompts: the token ids that score each layer. L × [T_l]
    """

    def __init__(self, model: LlavaOnevision | Qwen3VL, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._prompts = prompts
        self.num_positions = max(len(ids) for ids in prompts)
        self.num_tokens = sum(len(ids) for ids in prompts)

    @torch.inference_mode()
    def score(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        return [[self._score_layer(memory, layer) for layer in range(memory.num_layers)] for memory in memories]

    def _score_layer(self, memory: Memory, index: int) -> Tensor:
        device = self._model.spec.device
        decoder, ids = self._model.decoder, torch.tensor(self._prompts[index], device=device)
        layer, hidden = decoder.layers[index], self._model.embed_tokens(ids).tokens[None]
        capture = AttentionCapture([slice(0, len(ids))] * memory.num_layers)
        forward_pass = SlotCache([memory], [len(ids)], is_read_only=True, capture=capture)
        positions = forward_pass.positions()
        layer.self_attn(
            layer.input_layernorm(hidden),
            position_embeddings=decoder.rotary_emb(hidden, positions if len(positions) > 1 else positions[0]),
            attention_mask=None,
            past_key_values=forward_pass,
            forward_pass=forward_pass,
        )
        return capture.weights[index][0][memory.prefix_length :]


def no_scores(model: VideoLanguageModel) -> ImportanceScorer:
    """For policies that do not read attention."""
    return NoScores()


def questions(model: VideoLanguageModel) -> ImportanceScorer:
    """The product's default: the peak attention of a bank of questions."""
    return importance.question_scorer(model, _plans(model))


def mean_of_questions(model: VideoLanguageModel) -> ImportanceScorer:
    """The same bank of questions, with the mean over all its tokens."""
    return importance.question_scorer(model, _plans(model), attention_ops.mean_weight)


def roles(model: VideoLanguageModel) -> ImportanceScorer:
    """HERMES' prompts as questions, by the role of each layer, with the peak over their tokens."""
    return importance.role_scorer(model, _plans(model))


def mean_of_roles(model: VideoLanguageModel) -> ImportanceScorer:
    """The same prompts, with the mean over all their tokens."""
    return importance.role_scorer(model, _plans(model), attention_ops.mean_weight)


def bare_roles(
    model: VideoLanguageModel, reduce: Callable[[Tensor], Tensor] = attention_ops.peak_weight
) -> ImportanceScorer:
    """HERMES' prompts as published, right behind the last frame with nothing around them, but propagated."""
    prompts = _bare_prompts(model)
    texts = PackedTexts([model.embed_tokens(torch.tensor(ids, device=model.spec.device)) for ids in prompts.values()])
    rows = dict(zip(prompts, texts.spans, strict=True))
    return PromptedImportance(model, texts, [rows[plan.role] for plan in _plans(model)], reduce)


def mean_of_bare_roles(model: VideoLanguageModel) -> ImportanceScorer:
    """The same, with the mean over all their tokens."""
    return bare_roles(model, attention_ops.mean_weight)


def unpropagated_roles(model: VideoLanguageModel) -> ImportanceScorer:
    """HERMES' prompts, scored as in its published code."""
    if not isinstance(model, LlavaOnevision | Qwen3VL):
        raise UnsupportedModel("hermes-published", model, "LLaVA-OneVision and Qwen3-VL")
    prompts = _bare_prompts(model)
    return UnpropagatedImportance(model, [prompts[plan.role] for plan in _plans(model)])


def proxy_query(model: VideoLanguageModel) -> ImportanceScorer:
    """StreamMem's proxy query: the chat template around an empty question."""
    texts = PackedTexts([model.embed_question(torch.tensor(model.prompts.question("").ids, device=model.spec.device))])
    return PromptedImportance(model, texts, [texts.spans[0]] * model.spec.kv.num_layers, attention_ops.mean_weight)


def _bare_prompts(model: VideoLanguageModel) -> dict[Role, tuple[int, ...]]:
    return {role: model.prompts.encode(text) for role, text in importance.role_texts(model).items()}


def _plans(model: VideoLanguageModel) -> tuple[tiers.LayerPlan, ...]:
    return tiers.plan_layers(model.spec.kv.num_layers, MemoryConfig())
