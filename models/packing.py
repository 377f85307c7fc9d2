"""Several texts in one pass over memories: each attends to the memory and to itself only, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store.memory import Memory
from models.embeddings import Embeddings
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel


class PackedTexts:
    """Texts side by side behind any memory, each starting at the memory's next position. texts: [T_i, E]

    spans: where each text lies among the packed tokens. longest: tokens of the longest text.
    """

    def __init__(self, texts: Sequence[Embeddings]) -> None:
        device, lengths = texts[0].tokens.device, [len(text) for text in texts]
        ends = torch.tensor(lengths).cumsum(0).tolist()
        text_of_token = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor(lengths))
        self.spans = [slice(end - length, end) for length, end in zip(lengths, ends, strict=True)]
        self.longest = max(lengths)
        self._embedded = Embeddings.concat(*texts)
        self._mask = (text_of_token[:, None] == text_of_token[None, :]).tril().to(device)
        self._offsets = torch.cat([torch.arange(length) for length in lengths]).to(device)

    def forward(
        self, model: VideoLanguageModel, memories: Sequence[Memory], capture: AttentionCapture | None = None
    ) -> Tensor:
        """One pass of all texts over each memory, which is not changed. -> [B, sum of T_i, E]"""
        forward_pass = SlotCache(
            memories, len(self._embedded), mask=self._mask, offsets=self._offsets, is_read_only=True, capture=capture
        )
        return model.forward(self._embedded.expand(len(memories)), forward_pass)
