"""Answers decoded behind copies of memories, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from models import evidence_layers, query_capture
from models.decode_graphs import DecodeGraphs
from models.embeddings import Embeddings
from models.errors import NotFinite
from models.generation_config import TokenSampler
from models.prompts import QuestionPrompt
from models.query_capture import QueryCapture, TokenQueries
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel
from ops import transfer

_QUERIES_AT_ONCE = 32  # of one answer, whose attention weights are then computed together


@dataclass(frozen=True, slots=True)
class NextToken:
    """What a pass computed for one answer and is not part of the answer yet.

    id: None if the logits are not finite. num_read: tokens that the pass read. states: of recurrent layers, behind
    them. The attention of the last token read is either queries, or weights in attention_rows: one tensor [K, N] for K
    evidence layers, by these layers. Its columns behind a layer's tokens mean nothing.
    """

    id: int | None
    num_read: int
    states: tuple[Tensor, ...] = ()
    queries: TokenQueries | None = None
    attention_rows: dict[tuple[int, ...], Tensor] = field(default_factory=dict)


class Answer:
    """An answer in progress: its memory, its tokens so far, and the attention weights of those tokens.

    `memory` is this answer's until it is done: a copy of the camera's memory, or an empty one behind a copy that
    others read too. The camera's own memory is not touched.
    """

    def __init__(self, memory: Memory, question: QuestionPrompt) -> None:
        self.memory = memory
        self._base = memory.base or memory
        self.question = question
        self.ids: list[int] = []
        self._queries: list[TokenQueries] = []  # of tokens whose attention weights are not in the sums yet
        self._attention_sums: dict[tuple[int, ...], Tensor] = {}  # one row a layer, up to the longest one's end
        self._cached_lengths = list(self._base.lengths)

    def cached_tokens(self, layer: int) -> CachedTokens:
        """A view of the layer's tokens of the camera's memory as of the question, without the prefix."""
        return self._base.layer(layer).slice(self._base.prefix_length, self._cached_lengths[layer])

    @property
    def attention_weights(self) -> dict[int, Tensor]:
        """For each evidence layer the sum over the answer's tokens, on each of `cached_tokens`. [N_l]"""
        self._add_attention_of_queries()
        by_layer: dict[int, Tensor] = {}
        for layers, sums in self._attention_sums.items():
            for layer, row in zip(layers, sums, strict=True):
                on_tokens = row[: self._cached_lengths[layer] - self._base.prefix_length]
                by_layer[layer] = by_layer[layer] + on_tokens if layer in by_layer else on_tokens
        return by_layer

    def add_attention(self, layers: tuple[int, ...], rows: Tensor) -> None:
        """Adds the attention weights of one token of the answer, over prefix, memory and what is behind. [K, N]"""
        end = max(self._cached_lengths[layer] for layer in layers)
        on_memory = rows[:, self._base.prefix_length : end]
        so_far = self._attention_sums.get(layers)
        self._attention_sums[layers] = on_memory.clone() if so_far is None else so_far + on_memory

    def add_queries(self, queries: TokenQueries) -> None:
        """Adds the attention weights of one token of the answer later, together with those of others."""
        self._queries.append(queries)
        if len(self._queries) == _QUERIES_AT_ONCE:  # they would grow with the answer
            self._add_attention_of_queries()

    @torch.inference_mode()
    def _add_attention_of_queries(self) -> None:
        for layer in self._queries[0].layers if self._queries else ():
            self.add_attention((layer,), query_capture.summed_weights(self._queries, layer, self._base)[None])
        self._queries.clear()


class AnswerDecoder:
    """Reads questions and decodes answers. Device thread only; every method but `is_ended` blocks."""

    def __init__(self, model: VideoLanguageModel, graphs: DecodeGraphs | None = None) -> None:
        """graphs: of this model, where answers run in their slabs."""
        self._model = model
        self._graphs = graphs
        self._sampler = TokenSampler(model.generation)
        self._is_evidence = evidence_layers.of(model.spec.kv.num_layers)

    def step(self, answers: Sequence[Answer]) -> None:
        """Appends one more token to each answer, see `next_tokens`. Raises NotFinite."""
        for answer, token in zip(answers, self.next_tokens(answers), strict=True):
            self.append(answer, token)

    def next_tokens(self, answers: Sequence[Answer]) -> list[NextToken]:
        """The next token of each answer, in one pass over what each has not read: its question or its newest token.

        Changes no answer, so a pass that fails can be tried again with fewer answers.
        """
        return self._next_by_graph(answers) or self._next_by_pass(answers)

    def _next_by_graph(self, answers: Sequence[Answer]) -> list[NextToken]:
        """Empty if that needs an ordinary pass."""
        if self._graphs is None or not all(answer.ids for answer in answers):
            return []
        memories = [answer.memory for answer in answers]
        with _blanked_if_it_fails(answers, [1] * len(answers)):
            if (decoded := self._graphs.decode(memories, [answer.ids[-1] for answer in answers])) is None:
                return []
            attention = decoded.weights.clone().unbind(1)
            ids, layers = self._sampler.sample(decoded.logits, self._so_far(answers)), self._graphs.layers
            return [NextToken(id, 1, attention_rows={layers: rows}) for id, rows in zip(ids, attention, strict=True)]

    def _next_by_pass(self, answers: Sequence[Answer]) -> list[NextToken]:
        unread, num_new = self._embed_unread(answers)
        capture = QueryCapture(self._is_evidence)
        forward_pass = SlotCache([answer.memory for answer in answers], num_new, capture=capture)
        with _blanked_if_it_fails(answers, num_new):
            hidden = forward_pass.newest(self._model.forward(unread, forward_pass)[0])
            ids = self._sampler.sample(self._model.logits(hidden), self._so_far(answers))
            queries = [TokenQueries(capture.layers, row) for row in range(len(answers))]
            return [NextToken(*found) for found in zip(ids, num_new, forward_pass.states(), queries, strict=True)]

    def _so_far(self, answers: Sequence[Answer]) -> list[tuple[int, ...]]:
        """The tokens of each answer and of its prompt."""
        return [(*self._model.prompts.prefix, *answer.question.ids, *answer.ids) for answer in answers]

    def append(self, answer: Answer, token: NextToken) -> None:
        """Makes a token of `next_tokens` and what was read for it part of the answer. Raises NotFinite."""
        if token.id is None:
            answer.memory.blank(token.num_read)
            raise NotFinite(f"token {len(answer.ids) + 1} of the answer: the model's logits are not finite")
        answer.memory.set_states(token.states)
        answer.memory.extend(token.num_read, token.num_read)
        answer.ids.append(token.id)
        # The attention of the end token shows why the answer stops, not what it rests on.
        if not self.is_ended(answer):
            if token.queries is not None:
                answer.add_queries(token.queries)
            for layers, rows in token.attention_rows.items():
                answer.add_attention(layers, rows)

    def is_ended(self, answer: Answer) -> bool:
        """Whether the newest token is an end token of the model."""
        return answer.ids[-1] in self._model.generation.end_ids

    def _embed_unread(self, answers: Sequence[Answer]) -> tuple[Embeddings, list[int]]:
        """What the answers have not read, packed, and how many tokens of it are each one's. [1, sum of T_b, E]"""
        ids = [answer.ids[-1:] or answer.question.ids for answer in answers]
        # One transfer to the device for all of them.
        together = transfer.to_device(torch.tensor([id for some in ids for id in some]), self._model.spec.device)
        if all(answer.ids for answer in answers):
            return self._model.embed_tokens(together[None]), [1] * len(answers)
        of_each = torch.split(together, [len(some) for some in ids])
        unread = [
            self._model.embed_tokens(tokens) if answer.ids else self._model.embed_question(tokens)
            for answer, tokens in zip(answers, of_each, strict=True)
        ]
        return Embeddings.pack(unread), [len(tokens) for tokens in unread]


@contextmanager
def _blanked_if_it_fails(answers: Sequence[Answer], num_new: Sequence[int]) -> Iterator[None]:
    """Blanks what a pass that fails wrote: others read these slots on, and no mask hides what is no number.

    num_new: tokens that it writes behind each answer's memory, for a question more than it has ids in some families.
    """
    try:
        yield
    except Exception:
        for answer, num_tokens in zip(answers, num_new, strict=True):
            answer.memory.blank(num_tokens)
        raise
