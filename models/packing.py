"""Several texts in one pass over memories: each attends to the memory and to itself only, and nothing is written."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store.memory import Memory
from models.embeddings import Embeddings
from models.slot_cache import AttentionCapture, PassEnded, SlotCache
from models.vision_language_model import VideoLanguageModel
from ops import attention as attention_ops


class PackedTexts:
    """Texts side by side behind any memory, each starting at the memory's next position. texts: [T_i, E]

    shares_starts: a beginning that several texts share is read once, with the first of them. The tokens before it are
    the same in all of them, so its states and its attention are. The texts' weights cannot be told apart then. spans:
    where each text lies among the packed tokens, without a beginning that it shares. longest: tokens of the longest
    text.
    """

    def __init__(self, texts: Sequence[Embeddings], *, shares_starts: bool = False) -> None:
        self.spans: list[slice] = []
        paths: list[Tensor] = []
        for text in texts:
            start = self.spans[-1].stop if self.spans else 0
            shared = _longest_start(text, texts, paths) if shares_starts else torch.empty(0, dtype=torch.int64)
            self.spans.append(slice(start, start + len(text) - len(shared)))
            paths.append(torch.cat((shared, torch.arange(start, self.spans[-1].stop))))
        self.longest = max(map(len, paths))
        self.num_tokens = self.spans[-1].stop
        starts = [len(path) - (span.stop - span.start) for path, span in zip(paths, self.spans, strict=True)]
        self._embedded = Embeddings.concat(
            *[text.map(lambda tokens, start=start: tokens[start:]) for text, start in zip(texts, starts, strict=True)]  # type: ignore[misc]
        )
        self._offsets = torch.cat([torch.arange(start, len(path)) for path, start in zip(paths, starts, strict=True)])
        self._mask = attention_ops.text_mask(paths).to(self._embedded.tokens)

    def forward(
        self, model: VideoLanguageModel, memories: Sequence[Memory], capture: AttentionCapture | None = None
    ) -> Tensor:
        """One pass of all texts over each memory, which is not changed. -> [1, B · sum of T_i, E]

        With recurrent layers, which cannot tell texts apart, one pass for each text.
        """
        if memories[0].slabs.shape.recurrent is not None:
            return self._one_by_one(model, memories, capture)
        return self._at_once(model, memories, capture)

    def attend(self, model: VideoLanguageModel, memories: Sequence[Memory], capture: AttentionCapture) -> None:
        """`forward` for the attention weights alone: it ends in the last layer of which any are recorded."""
        if memories[0].slabs.shape.recurrent is not None:
            self._one_by_one(model, memories, capture)
            return
        last = max(layer for layer, rows in enumerate(capture.query_rows) if rows is not None)
        with contextlib.suppress(PassEnded):
            self._at_once(model, memories, capture, ends_at=last)

    def _at_once(
        self,
        model: VideoLanguageModel,
        memories: Sequence[Memory],
        capture: AttentionCapture | None,
        ends_at: int | None = None,
    ) -> Tensor:
        forward_pass = SlotCache(
            memories,
            [len(self._embedded)] * len(memories),
            mask=self._mask,
            offsets=self._offsets.repeat(len(memories)),
            is_read_only=True,
            capture=capture,
            ends_at=ends_at,
        )
        return model.forward(Embeddings.pack([self._embedded] * len(memories)), forward_pass)

    def _one_by_one(
        self, model: VideoLanguageModel, memories: Sequence[Memory], capture: AttentionCapture | None
    ) -> Tensor:
        hidden, weights = [], []
        for span in self.spans:
            text = self._embedded.map(lambda tokens, span=span: tokens[span])  # type: ignore[misc]
            rows = [_inside(chosen, span) for chosen in capture.query_rows] if capture is not None else []
            part = AttentionCapture(rows, lambda all_weights: all_weights) if capture is not None else None
            forward_pass = SlotCache(memories, [len(text)] * len(memories), is_read_only=True, capture=part)
            read = model.forward(Embeddings.pack([text] * len(memories)), forward_pass)
            hidden.append(read.view(len(memories), len(text), -1))
            weights.append(part.weights if part is not None else {})
        if capture is not None:
            for layer in sorted({layer for part in weights for layer in part}):
                parts = [part[layer] for part in weights if layer in part]
                capture.weights[layer] = {
                    row: capture.reduce(torch.cat([part[row] for part in parts], dim=1)) for row in range(len(memories))
                }
        return torch.cat(hidden, dim=1).flatten(0, 1)[None]


def _inside(rows: slice | None, span: slice) -> slice | None:
    """The part of `rows` that is in a span, counted from its start; None if there is none."""
    if rows is None or rows.start >= span.stop or rows.stop <= span.start:
        return None
    return slice(max(rows.start, span.start) - span.start, min(rows.stop, span.stop) - span.start)


def _longest_start(text: Embeddings, texts: Sequence[Embeddings], paths: Sequence[Tensor]) -> Tensor:
    """The packed tokens of the longest beginning that a text shares with one of those that have a path. -> [K]"""
    longest = torch.empty(0, dtype=torch.int64)
    for other, path in zip(texts, paths, strict=False):
        both = min(len(text), len(other)) - 1  # the last token of a text is its own
        parts = zip((text.tokens, *text.deep), (other.tokens, *other.deep), strict=True)
        is_same = torch.stack([(mine[:both] == theirs[:both]).all(dim=-1) for mine, theirs in parts]).all(dim=0)
        shared = int(is_same.long().cumprod(dim=0).sum())
        longest = path[:shared] if shared > len(longest) else longest
    return longest
