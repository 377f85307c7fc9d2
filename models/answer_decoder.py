"""Answers decoded behind copies of memories, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from models.embeddings import Embeddings
from models.errors import NotFinite
from models.generation_config import TokenSampler
from models.prompts import QuestionPrompt
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel


def evidence_layers(num_layers: int) -> list[bool]:
    """Whether each layer's attention weights count as evidence: the deeper two thirds do. -> L

    Shallow layers attend to the newest tokens whatever the question.
    """
    return [layer >= num_layers // 3 for layer in range(num_layers)]


@dataclass(frozen=True, slots=True)
class NextToken:
    """What a pass found for one answer, before it is part of the answer.

    id: None if the logits were no numbers. num_read: tokens that the pass read. states: of recurrent layers, behind
    them. attention_weights: of the last token read, for each evidence layer. [N_l]
    """

    id: int | None
    num_read: int
    states: tuple[Tensor, ...]
    attention_weights: dict[int, Tensor]


class Answer:
    """An answer in progress: its memory, its tokens so far, and the attention weights of those tokens.

    `memory` is this answer's until it is done: a copy of the camera's memory, or an empty one behind a copy that
    others read too. The camera's own memory is not touched.
    attention_weights: for each evidence layer the sum over the answer's tokens, on each of `cached_tokens`. [N_l]
    """

    def __init__(self, memory: Memory, question: QuestionPrompt) -> None:
        self.memory = memory
        self._base = memory.base or memory
        self.question = question
        self.ids: list[int] = []
        self.attention_weights: dict[int, Tensor] = {}
        self._cached_lengths = list(self._base.lengths)

    def cached_tokens(self, layer: int) -> CachedTokens:
        """A view of the layer's tokens of the camera's memory as of the question, without the prefix."""
        return self._base.layer(layer).slice(self._base.prefix_length, self._cached_lengths[layer])

    def add_attention(self, layer: int, weights: Tensor) -> None:
        """Adds the attention weights of one token of the answer. [N], over prefix, memory, question and answer"""
        on_memory = weights[self._base.prefix_length : self._cached_lengths[layer]]
        so_far = self.attention_weights.get(layer)
        self.attention_weights[layer] = on_memory if so_far is None else so_far + on_memory


class AnswerDecoder:
    """Reads questions and decodes answers. Device thread only; every method but `is_ended` blocks."""

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model
        self._sampler = TokenSampler(model.generation)
        self._is_evidence = evidence_layers(model.spec.kv.num_layers)

    def step(self, answers: Sequence[Answer]) -> None:
        """Appends one more token to each answer, see `next_tokens`. Raises NotFinite."""
        for answer, token in zip(answers, self.next_tokens(answers), strict=True):
            self.append(answer, token)

    def next_tokens(self, answers: Sequence[Answer]) -> list[NextToken]:
        """The next token of each answer, in one pass over what each has not read: its question or its newest token.

        Changes no answer, so a pass that fails can be tried again with fewer answers.
        """
        unread, num_new = self._embed_unread(answers)
        capture = AttentionCapture([slice(-1, None) if is_evidence else None for is_evidence in self._is_evidence])
        forward_pass = SlotCache([answer.memory for answer in answers], num_new, capture=capture)
        hidden = forward_pass.newest(self._model.forward(unread, forward_pass))
        so_far = [(*self._model.prompts.prefix, *answer.question.ids, *answer.ids) for answer in answers]
        ids, states = self._sampler.sample(self._model.logits(hidden), so_far), forward_pass.states()
        weights = [{layer: of_rows[row] for layer, of_rows in capture.weights.items()} for row in range(len(answers))]
        return [NextToken(*found) for found in zip(ids, num_new, states, weights, strict=True)]

    def append(self, answer: Answer, token: NextToken) -> None:
        """Makes a token of `next_tokens` and what was read for it part of the answer. Raises NotFinite."""
        if token.id is None:
            self._blank(answer.memory, token.num_read)
            raise NotFinite(f"token {len(answer.ids) + 1} of the answer: the model's logits are no numbers")
        answer.memory.set_states(token.states)
        answer.memory.extend(token.num_read, token.num_read)
        answer.ids.append(token.id)
        # The attention of the end token shows why the answer stops, not what it rests on.
        if not self.is_ended(answer):
            for layer, weights in token.attention_weights.items():
                answer.add_attention(layer, weights)

    def _blank(self, memory: Memory, num_tokens: int) -> None:
        """Writes zeros over what a pass wrote: no mask would hide what is no number from the slot's next answer."""
        shape = self._model.spec.kv
        zeros = torch.zeros(shape.num_kv_heads, num_tokens, shape.head_dim, dtype=shape.dtype)
        for layer in range(memory.num_layers):
            memory.write(layer, zeros, zeros)

    def is_ended(self, answer: Answer) -> bool:
        """Whether the newest token is an end token of the model."""
        return answer.ids[-1] in self._model.generation.end_ids

    def _embed_unread(self, answers: Sequence[Answer]) -> tuple[Embeddings, list[int]]:
        """What the answers have not read, packed, and how many tokens of it are each one's. [1, sum of T_b, E]"""
        ids = [answer.ids[-1:] or answer.question.ids for answer in answers]
        # One transfer to the device for all of them.
        together = torch.tensor([id for some in ids for id in some], device=self._model.spec.device)
        if all(answer.ids for answer in answers):
            return self._model.embed_tokens(together[None]), [1] * len(answers)
        of_each = torch.split(together, [len(some) for some in ids])
        unread = [
            self._model.embed_tokens(tokens) if answer.ids else self._model.embed_question(tokens)
            for answer, tokens in zip(answers, of_each, strict=True)
        ]
        return Embeddings.pack(unread), [len(tokens) for tokens in unread]
