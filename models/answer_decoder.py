"""Answers read from copies of memories, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store.memory import CachedTokens, Memory
from models.prompts import QuestionPrompt
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel


def evidence_layers(num_layers: int) -> list[bool]:
    """Which layers' attention is evidence: the deeper two thirds. Shallow ones look at what is near, whatever it is."""
    return [layer >= num_layers // 3 for layer in range(num_layers)]


class Answer:
    """An answer under way: its copy of a memory, its tokens so far, and where they looked.

    `memory` is a scratch slot that this answer owns until it is done; the camera's own memory is not touched.
    """

    def __init__(self, copy: Memory, question: QuestionPrompt) -> None:
        self.memory = copy
        self.question = question
        self.ids: list[int] = []
        self.looked: dict[int, Tensor] = {}
        self._remembered = list(copy.lengths)

    def remembered(self, layer: int) -> CachedTokens:
        """What the camera's memory held in this layer when the question came, after the prefix."""
        return self.memory.layer(layer).slice(self.memory.prefix_length, self._remembered[layer])

    def note(self, layer: int, weights: Tensor) -> None:
        """Adds where one token looked. [N], prefix, question and answer included"""
        seen = weights[self.memory.prefix_length : self._remembered[layer]]
        self.looked[layer] = self.looked[layer] + seen if layer in self.looked else seen


class AnswerDecoder:
    """Reads questions and writes answers, greedily; a step is one prefill or one decode. Device thread only."""

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model
        self._is_telling = evidence_layers(model.spec.kv.num_layers)

    def read(self, answer: Answer) -> None:
        """Reads the question on the answer's copy and appends the first token of the answer."""
        ids = torch.tensor(answer.question.ids, device=self._model.spec.device)
        self._advance([answer], self._model.embed_question(ids)[None])

    def step(self, answers: Sequence[Answer]) -> None:
        """Appends one more token to each answer, in one batch."""
        newest = torch.tensor([[answer.ids[-1]] for answer in answers], device=self._model.spec.device)
        self._advance(answers, self._model.embed_tokens(newest))

    def is_ended(self, answer: Answer) -> bool:
        """Whether the model has said the last word."""
        return answer.ids[-1] == self._model.prompts.end_id

    def _advance(self, answers: Sequence[Answer], embeddings: Tensor) -> None:
        num_new = embeddings.shape[1]
        last = slice(num_new - 1, num_new)
        capture = AttentionCapture([last if telling else None for telling in self._is_telling])
        running = SlotCache([answer.memory for answer in answers], num_new, capture=capture)
        hidden = self._model.decode(embeddings, running)
        tokens = self._model.next_token(hidden[:, -1]).tolist()
        unknown = torch.zeros(num_new, dtype=torch.int64, device=embeddings.device)
        for row, (answer, token) in enumerate(zip(answers, tokens, strict=True)):
            answer.memory.commit(unknown, unknown.double())
            answer.ids.append(int(token))
            self._note(answer, capture, row)

    def _note(self, answer: Answer, capture: AttentionCapture, row: int) -> None:
        # Where the model looked to find that nothing is left to say is no evidence.
        if not self.is_ended(answer):
            for layer, weights in capture.weights.items():
                answer.note(layer, weights[row])
