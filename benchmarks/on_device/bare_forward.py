"""The unmodified transformers model over a DynamicCache: what a pass costs without hermes around it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from cache_store.memory import Memory
from models.vision_language_model import VideoLanguageModel


class BareForward:
    """transformers' own decoder with its own attention, over the same weights as the model."""

    def __init__(self, model: VideoLanguageModel) -> None:
        network = model._network  # type: ignore[attr-defined]
        weights = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        self._network = copy.deepcopy(network, weights)
        self._network.set_attn_implementation("sdpa")
        self._decoder = self._network.model.language_model
        self.width = self._decoder.config.hidden_size
        self._spec = model.spec.kv

    def cache_of(self, memories: Sequence[Memory]) -> DynamicCache:
        """A cache with the keys and values of these memories, all of one length."""
        cache = DynamicCache()
        for layer in range(self._spec.num_layers):
            keys = torch.stack([memory.keys(layer) for memory in memories])
            values = torch.stack([memory.values(layer) for memory in memories])
            cache.update(keys, values, layer)
        return cache

    def empty_cache(self) -> DynamicCache:
        """A cache of nothing."""
        return DynamicCache()

    @torch.inference_mode()
    def append(self, cache: DynamicCache, embeddings: Tensor) -> Tensor:
        """One pass of the decoder, which the cache then holds. [B, T, E] -> [B, T, E]"""
        output = self._decoder(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
        hidden: Tensor = output.last_hidden_state
        return hidden

    @torch.inference_mode()
    def next_tokens(self, cache: DynamicCache, ids: Tensor) -> list[int]:
        """The likeliest token behind these. [B, T] -> B"""
        hidden = self.append(cache, self._decoder.get_input_embeddings()(ids))
        tokens: list[int] = self._network.lm_head(hidden[:, -1]).argmax(dim=-1).tolist()
        return tokens

    def flops(self, num_tokens: int, context: int) -> float:
        """Of a pass of so many new tokens that attend to `context` cached ones; two operations a multiplication."""
        config = self._decoder.config
        matrices = sum(weight.numel() for weight in self._decoder.layers.parameters() if weight.dim() == 2)
        attention = 4 * self._spec.num_layers * config.num_attention_heads * self._spec.head_dim * context
        return float(num_tokens * (2 * matrices + attention))

    def noise(self, batch: int, num_tokens: int) -> Tensor:
        """Embeddings of no content. -> [B, T, E]"""
        return torch.randn(batch, num_tokens, self.width, dtype=self._spec.dtype, device=self._spec.device)
