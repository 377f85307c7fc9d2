"""Answers decoded from copies of memories, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from models.embeddings import Embeddings
from models.generation_config import TokenSampler
from models.prompts import QuestionPrompt
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel


def evidence_layers(num_layers: int) -> list[bool]:
    """Whether each layer's attention weights count as evidence: the deeper two thirds do. -> L

    Shallow layers attend to the newest tokens whatever the question.
    """
    return [layer >= num_layers // 3 for layer in range(num_layers)]


class Answer:
    """An answer in progress: its copy of a memory, its tokens so far, and the attention weights of those tokens.

    `memory` is a scratch slot that this answer owns until it is done. The camera's own memory is not touched.
    attention_weights: for each evidence layer the sum over the answer's tokens, on each of `cached_tokens`. [N_l]
    """

    def __init__(self, copy: Memory, question: QuestionPrompt) -> None:
        self.memory = copy
        self.question = question
        self.ids: list[int] = []
        self.attention_weights: dict[int, Tensor] = {}
        self._cached_lengths = list(copy.lengths)

    def cached_tokens(self, layer: int) -> CachedTokens:
        """A view of the layer's tokens of the camera's memory as of the question, without the prefix."""
        return self.memory.layer(layer).slice(self.memory.prefix_length, self._cached_lengths[layer])

    def add_attention(self, layer: int, weights: Tensor) -> None:
        """Adds the attention weights of one token of the answer. [N], over prefix, memory, question and answer"""
        on_memory = weights[self.memory.prefix_length : self._cached_lengths[layer]]
        so_far = self.attention_weights.get(layer)
        self.attention_weights[layer] = on_memory if so_far is None else so_far + on_memory


class AnswerDecoder:
    """Prefills questions and decodes answers. Device thread only; every method blocks for one pass."""

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model
        self._sampler = TokenSampler(model.generation)
        self._is_evidence = evidence_layers(model.spec.kv.num_layers)

    def prefill(self, answer: Answer) -> None:
        """Reads the question into the answer's copy and appends the first token of the answer."""
        ids = torch.tensor(answer.question.ids, device=self._model.spec.device)
        self._advance([answer], [self._model.embed_question(ids)])

    def decode_step(self, answers: Sequence[Answer]) -> None:
        """Appends one more token to each answer, in one batch."""
        newest = torch.tensor([[answer.ids[-1]] for answer in answers], device=self._model.spec.device)
        self._advance(answers, [self._model.embed_tokens(token) for token in newest])

    def is_ended(self, answer: Answer) -> bool:
        """Whether the newest token is an end token of the model."""
        return answer.ids[-1] in self._model.generation.end_ids

    def _advance(self, answers: Sequence[Answer], embeddings: Sequence[Embeddings]) -> None:
        newest = slice(-1, None)
        capture = AttentionCapture([newest if is_evidence else None for is_evidence in self._is_evidence])
        num_new = [len(tokens) for tokens in embeddings]
        forward_pass = SlotCache([answer.memory for answer in answers], num_new, capture=capture)
        hidden = self._model.forward(Embeddings.pack(embeddings), forward_pass)
        forward_pass.write_states()
        so_far = [(*self._model.prompts.prefix, *answer.question.ids, *answer.ids) for answer in answers]
        tokens = self._sampler.sample(self._model.logits(forward_pass.newest(hidden)), so_far)
        for row, (answer, token) in enumerate(zip(answers, tokens, strict=True)):
            no_ids = torch.zeros(num_new[row], dtype=torch.int64, device=hidden.device)  # text is of no frame
            answer.memory.commit(no_ids, no_ids.double())
            answer.ids.append(token)
            self._record_attention(answer, capture, row)

    def _record_attention(self, answer: Answer, capture: AttentionCapture, row: int) -> None:
        # The attention of the end token shows why the answer stops, not what it rests on.
        if not self.is_ended(answer):
            for layer, weights in capture.weights.items():
                answer.add_attention(layer, weights[row])
