"""The Qwen3.5 family: frames as in Qwen3-VL without DeepStack, and a decoder with three recurrent layers to one full.

Only the full layers have tokens: the memory is theirs, and the recurrent ones keep a state of fixed size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig

from cache_store.slabs import RecurrentShape
from models import guidance, pass_parts, patches
from models.embeddings import Embeddings
from models.prompts import PromptTexts
from models.qwen_vl import QwenTraits, QwenVL
from models.slot_cache import SlotCache
from models.vision_language_model import ForwardPass

TEXTS = PromptTexts(
    prefix="<|im_start|>user\n",
    question="{question}<|im_end|>\n<|im_start|>assistant\n",
    guidance_local=guidance.LOCAL,
    guidance_global=guidance.GLOBAL,
    guidance_questions=guidance.QUESTIONS,
)

_VISION_FACTS = (
    "patch_size",
    "temporal_patch_size",
    "spatial_merge_size",
    "num_heads",
    "hidden_act",
    "rope_parameters",
)
_TEXT_FACTS = (
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "rope_parameters",
    "layer_types",
    "linear_num_key_heads",
    "linear_key_head_dim",
    "linear_num_value_heads",
    "linear_value_head_dim",
)
_MODEL_FACTS = ("vision_start_token_id", "vision_end_token_id")


def _recurrent(text: PretrainedConfig) -> RecurrentShape:
    keys = text.linear_num_key_heads * text.linear_key_head_dim
    values = text.linear_num_value_heads * text.linear_value_head_dim
    return RecurrentShape(
        layers=tuple(layer for layer, kind in enumerate(text.layer_types) if kind == "linear_attention"),
        convolution=(2 * keys + values, text.linear_conv_kernel_dim),
        state=(text.linear_num_value_heads, text.linear_key_head_dim, text.linear_value_head_dim),
    )


class Qwen35(QwenVL):
    """A Qwen3.5 checkpoint behind the VideoLanguageModel seam, see QwenVL."""

    traits = QwenTraits(
        other_places=patches.interpolation,
        is_interleaved=True,
        has_time_texts=True,
        model_facts=_MODEL_FACTS,
        vision_facts=_VISION_FACTS,
        text_facts=_TEXT_FACTS,
        recurrent=_recurrent,
    )

    @torch.inference_mode()
    def forward(self, embeddings: Embeddings, forward_pass: ForwardPass) -> Tensor:
        assert isinstance(forward_pass, SlotCache)  # a step of fixed shapes knows no recurrent state
        hidden, all_places = [], []
        for part in pass_parts.parts_of(forward_pass):
            hidden.append(self._forward(embeddings.tokens[:, part.places], part.forward_pass))
            all_places.append(part.places.to(hidden[-1].device))
            part.complete()
        return torch.cat(hidden, dim=1)[:, torch.cat(all_places).argsort()]

    def _forward(self, tokens: Tensor, forward_pass: SlotCache) -> Tensor:
        """A recurrent layer cannot tell packed memories apart, so they are a batch. [1, B · T, E] -> the same"""
        batch = len(forward_pass.memories)
        output = self.decoder(
            inputs_embeds=tokens.view(batch, -1, tokens.shape[-1]),
            position_ids=forward_pass.positions().view(-1, batch, tokens.shape[1] // batch),
            attention_mask={"full_attention": None, "linear_attention": None},
            past_key_values=forward_pass,
            forward_pass=forward_pass,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden.flatten(0, 1)[None]
