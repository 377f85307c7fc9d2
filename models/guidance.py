"""Where a model looks when it is asked what matters: the scores by which a memory is compacted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store import memory, tiers
from models import slot_pass, vlm


class Guidance:
    """The three guidance prompts of a model, packed into one pass that touches no memory (HERMES, section 3.2).

    Shallow layers are scored by the local prompt, deep ones by the global, those between by both in one. Each
    prompt sees the memory and itself; the hidden states go through all layers, so a score is the model's own
    attention (the published code projects every layer's query from the raw embeddings).
    """

    def __init__(self, model: vlm.VideoLanguageModel, plans: Sequence[tiers.LayerPlan]) -> None:
        local, whole = model.prompts.guidance_local, model.prompts.guidance_global
        texts = {tiers.Role.SENSORY: local, tiers.Role.WORKING: local + whole, tiers.Role.LONG_TERM: whole}
        device = model.spec.device
        self._model = model
        self._rows = _rows({role: len(ids) for role, ids in texts.items()}, plans)
        self._ids = torch.tensor([token for ids in texts.values() for token in ids], device=device)
        prompt = torch.cat([torch.full((len(ids),), which) for which, ids in enumerate(texts.values())])
        self._sees = (prompt[:, None] == prompt[None, :]).tril().to(device)
        self._offsets = torch.cat([torch.arange(len(ids)) for ids in texts.values()]).to(device)

    @property
    def longest(self) -> int:
        """Positions that a pass takes up behind the memory."""
        return int(self._offsets.max()) + 1

    @torch.inference_mode()
    def attention(self, held: memory.Memory) -> list[Tensor]:
        """The mean attention on each token after the prefix, layer by layer. -> L × [N_l], float32"""
        gaze = slot_pass.Gaze(self._rows)
        running = slot_pass.SlotPass(
            [held], len(self._ids), sees=self._sees, offsets=self._offsets, is_read_only=True, gaze=gaze
        )
        self._model.decode(self._model.embed_tokens(self._ids)[None], running)
        return [gaze.weights[layer][0][held.prefix_length :] for layer in range(held.num_layers)]


def _rows(lengths: dict[tiers.Role, int], plans: Sequence[tiers.LayerPlan]) -> list[slice | None]:
    """Which rows of the packed pass score each layer."""
    starts, start = {}, 0
    for role, length in lengths.items():
        starts[role] = slice(start, start + length)
        start += length
    return [starts[plan.role] for plan in plans]
