"""What the default policy is measured against: ideas of other systems, and variants of our own, as plain policies.

Each is the idea alone, in our memory and with our scores, not a port of anybody's code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cache_store import policies, tiers
from cache_store.memory import Memory
from cache_store.policies import LayerView, MemoryView, Retention
from cache_store.tiers import MemoryConfig
from models import importance
from models.importance import ImportanceScorer, PromptedImportance
from models.llava_onevision import LlavaOnevision
from models.packing import PackedTexts
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel
from ops import attention as attention_ops
from ops import retention, scores

NUM_SINKS = 4
RECENCY_SHARE = 0.3
HALF_LIFE_S = 60.0
COVERAGE_SHARE = 0.35
MOST_PROTOTYPES = 8  # new ones at a compaction

Decision = Callable[[MemoryView], list[Retention]]


def by_score(score: Callable[[LayerView], Tensor]) -> Decision:
    """Keeps the highest of some score in every layer; the rest is dropped."""
    return lambda view: [policies.retain(score(layer), layer.budget, folds_evicted=False) for layer in view]


def sinks_and_newest(layer: LayerView) -> Tensor:
    """A sliding window with attention sinks: the first few tokens ever, and the newest."""
    rank = torch.arange(len(layer.tokens), dtype=torch.float32, device=layer.attention.device)
    return torch.where(rank < NUM_SINKS, torch.inf, rank)


def scattered(layer: LayerView) -> Tensor:
    """A draw that each token keeps for life: what stays is a uniform sample of all that ever was."""
    return ((layer.tokens.token_ids * 2_654_435_761 + 12_345) % 1_000_003).float()


def novelty(layer: LayerView) -> Tensor:
    """1 - cosine of a token's values to those of the token before it in the same cell, 1 for the first. [N]"""
    tokens, cells = layer.tokens, layer.tokens.token_ids % layer.tokens_per_frame
    order = cells.sort(stable=True).indices
    values = torch.nn.functional.normalize(tokens.values.float(), dim=-1)[:, order]
    alike = (values[:, 1:] * values[:, :-1]).sum(dim=-1).mean(dim=0)
    is_same_cell = cells[order][1:] == cells[order][:-1]
    found = torch.ones(len(tokens), device=values.device)
    found[order[1:]] = torch.where(is_same_cell, 1 - alike, 1.0)
    return found


def infinipot(view: MemoryView) -> list[Retention]:
    """InfiniPot-V's idea, blind to questions: half by novelty over time, half by the norm of the values."""
    found = []
    for layer in view:
        new, norms = novelty(layer), layer.tokens.values.float().norm(dim=-1).mean(dim=0)
        first = retention.keep_top(new, layer.budget // 2)
        left = norms.index_fill(0, first, torch.inf)
        found.append(policies.retain(left, layer.budget, folds_evicted=False))
    return found


def streammem(view: MemoryView) -> list[Retention]:
    """StreamMem's idea: attention of a proxy query, and what a frame loses folds into one prototype of that frame."""
    found = []
    for layer in view:
        kept = retention.keep_top(layer.attention, layer.budget)
        lost = retention.others(kept, len(layer.tokens))
        lost = lost[layer.tokens.counts[lost] == 1]
        frames = torch.unique(layer.frames[lost])[-min(MOST_PROTOTYPES, layer.budget // 4) :]
        groups = tuple(lost[layer.frames[lost] == frame] for frame in frames)
        kept = retention.keep_top(layer.attention, layer.budget - len(groups))
        found.append(Retention(kept, groups))
    return found


def hermes_by_place(view: MemoryView) -> list[Retention]:
    """HERMES with scores smoothed by place, as published: after a compaction, of unrelated tokens."""
    places = [torch.arange(len(layer.tokens), device=layer.attention.device) for layer in view]
    return policies.blended_and_smoothed(view, places)


def with_recency(layer: LayerView) -> Tensor:
    """Attention blended with recency in seconds, halved every minute."""
    age_s = (layer.tokens.times_s.max() - layer.tokens.times_s).float() if len(layer.tokens) else layer.attention
    recent = torch.exp2(-age_s / HALF_LIFE_S)
    return (1 - RECENCY_SHARE) * scores.min_max(layer.attention) + RECENCY_SHARE * recent


def times_novelty(layer: LayerView) -> Tensor:
    """Attention × non-redundancy (OmniMem's idea)."""
    return layer.attention * novelty(layer)


def half_by_novelty(view: MemoryView) -> list[Retention]:
    """Half of the budget by attention, the rest by novelty over time."""
    found = []
    for layer in view:
        first = retention.keep_top(layer.attention, layer.budget // 2)
        left = novelty(layer).index_fill(0, first, torch.inf)
        found.append(policies.retain(left, layer.budget, folds_evicted=False))
    return found


def with_coverage(view: MemoryView) -> list[Retention]:
    """A part of the budget spread evenly over time buckets that double in length, the rest by attention."""
    found = []
    for layer in view:
        quota, score = int(COVERAGE_SHARE * layer.budget), layer.attention.clone()
        if len(layer.tokens) > layer.budget:
            age_s = layer.tokens.times_s.max() - layer.tokens.times_s
            bucket = torch.log2(age_s + 1).long()
            for which in (buckets := torch.unique(bucket)):
                inside = (bucket == which).nonzero().squeeze(1)
                best = inside[retention.keep_top(layer.attention[inside], quota // len(buckets))]
                score[best] += 1e3
        found.append(policies.retain(score, layer.budget, folds_evicted=False))
    return found


def with_cap(view: MemoryView) -> list[Retention]:
    """At most a quarter of a frame's tokens, unless nothing else is left."""
    found = []
    for layer in view:
        score, cap = layer.attention.clone(), max(1, layer.tokens_per_frame // 4)
        for frame in torch.unique(layer.frames):
            inside = (layer.frames == frame).nonzero().squeeze(1)
            surplus = retention.others(retention.keep_top(layer.attention[inside], cap), len(inside))
            score[inside[surplus]] -= 1e3
        found.append(policies.retain(score, layer.budget, folds_evicted=False))
    return found


def with_summaries(view: MemoryView) -> list[Retention]:
    """What is not kept folds into summaries, one for each doubling of age, in every layer."""
    found = []
    for layer in view:
        if len(layer.tokens) <= layer.budget:
            found.append(policies.retain(layer.attention, layer.budget, folds_evicted=False))
            continue
        is_summary = layer.tokens.counts > 1
        score = layer.attention.masked_fill(is_summary, -torch.inf)
        bucket = torch.log2((layer.tokens.times_s.max() - layer.tokens.times_s) / 8 + 1).long()
        most = max(1, layer.budget // 8)
        kept = retention.keep_top(score, layer.budget - most)
        lost = retention.others(kept, len(layer.tokens))
        old = bucket[lost].clamp(max=most - 1)
        found.append(Retention(kept, tuple(lost[old == which] for which in torch.unique(old))))
    return found


class Unpropagated:
    """Guidance as published: each layer's queries are projected from the raw embeddings, not from what came before."""

    def __init__(self, model: LlavaOnevision, roles: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._roles = roles
        self.longest = max(len(ids) for ids in roles)
        self.num_tokens = sum(len(ids) for ids in roles)

    @torch.inference_mode()
    def attention(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        """As guidance.Guidance.attention."""
        return [[self._layer(held, layer) for layer in range(held.num_layers)] for held in memories]

    def _layer(self, held: Memory, index: int) -> Tensor:
        decoder, ids = self._model.decoder, torch.tensor(self._roles[index])
        layer, hidden = decoder.layers[index], self._model.embed_tokens(ids)[None]
        capture = AttentionCapture([slice(0, len(ids))] * held.num_layers)
        running = SlotCache([held], len(ids), is_read_only=True, capture=capture)
        layer.self_attn(
            layer.input_layernorm(hidden),
            position_embeddings=decoder.rotary_emb(hidden, running.positions()),
            attention_mask=None,
            past_key_values=running,
            slot_pass=running,
        )
        return capture.weights[index][0][held.prefix_length :]


def proxy(model: VideoLanguageModel) -> ImportanceScorer:
    """StreamMem's proxy query: the chat template around a question that asks nothing."""
    texts = PackedTexts([model.embed_question(torch.tensor(model.prompts.question("").ids))])
    return PromptedImportance(model, texts, [texts.places[0]] * model.spec.kv.num_layers, attention_ops.mean_weight)


def averaged_bank(model: VideoLanguageModel) -> ImportanceScorer:
    """The same bank of questions, scored by the mean over all its words."""
    plans = tiers.plan_layers(model.spec.kv.num_layers, MemoryConfig())
    return importance.by_questions(model, plans, attention_ops.mean_weight)
