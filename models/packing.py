"""Several texts in one pass over memories: each sees the memory and itself, none sees another, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store.memory import Memory
from models.slot_cache import AttentionCapture, SlotCache
from models.vision_language_model import VideoLanguageModel


class PackedTexts:
    """Texts that stand side by side behind any memory, all from its next position on. texts: embedded, [T_i, E]"""

    def __init__(self, texts: Sequence[Tensor]) -> None:
        device, lengths = texts[0].device, [len(text) for text in texts]
        ends = torch.tensor(lengths).cumsum(0).tolist()
        which = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor(lengths))
        self.places = [slice(end - length, end) for length, end in zip(lengths, ends, strict=True)]
        self.longest = max(lengths)
        self._embedded = torch.cat(list(texts))
        self._sees = (which[:, None] == which[None, :]).tril().to(device)
        self._offsets = torch.cat([torch.arange(length) for length in lengths]).to(device)

    def read(
        self, model: VideoLanguageModel, memories: Sequence[Memory], capture: AttentionCapture | None = None
    ) -> Tensor:
        """One pass of all texts over each memory, which stays as it is. -> [B, sum of T_i, E]"""
        running = SlotCache(
            memories, len(self._embedded), sees=self._sees, offsets=self._offsets, is_read_only=True, capture=capture
        )
        return model.decode(self._embedded.expand(len(memories), -1, -1), running)
