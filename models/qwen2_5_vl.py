"""The Qwen2.5-VL family: pairs of frames at their own shape, windowed vision attention, M-RoPE with absolute time.

A step of frames is one video, as the published HERMES reads it: time begins anew with each step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models import guidance, patches
from models.embeddings import Embeddings
from models.prompts import PromptTexts
from models.qwen_vl import QwenTraits, QwenVL
from models.vision_language_model import ForwardPass

TEXTS = PromptTexts(
    prefix="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    question="{question}<|im_end|>\n<|im_start|>assistant\n",
    guidance_local=guidance.LOCAL,
    guidance_global=guidance.GLOBAL,
    guidance_questions=guidance.QUESTIONS,
)

_VISION_FACTS = (
    "patch_size",
    "temporal_patch_size",
    "spatial_merge_size",
    "tokens_per_second",
    "window_size",
    "fullatt_block_indexes",
    "num_heads",
    "hidden_act",
    "rope_parameters",
)
_TEXT_FACTS = (
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "rms_norm_eps",
    "rope_parameters",
    "layer_types",
    "sliding_window",
)
_MODEL_FACTS = ("vision_start_token_id", "vision_end_token_id")


class Qwen25VL(QwenVL):
    """A Qwen2.5-VL checkpoint behind the VideoLanguageModel seam, see QwenVL."""

    traits = QwenTraits(
        other_places=patches.windows,
        is_interleaved=False,
        has_time_texts=False,
        model_facts=_MODEL_FACTS,
        vision_facts=_VISION_FACTS,
        text_facts=_TEXT_FACTS,
    )

    @torch.inference_mode()
    def forward(self, embeddings: Embeddings, forward_pass: ForwardPass) -> Tensor:
        output = self.decoder(
            inputs_embeds=embeddings.tokens,
            position_ids=forward_pass.positions(),
            attention_mask={"full_attention": None},
            past_key_values=forward_pass,
            forward_pass=forward_pass,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
