"""The Qwen3-VL family: pairs of frames at their own shape, times in text, interleaved M-RoPE, DeepStack.

NVIDIA Cosmos3 Nano has the same shape.
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
    "deepstack_visual_indexes",
)
_TEXT_FACTS = (
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "rope_parameters",
)
_MODEL_FACTS = ("vision_start_token_id", "vision_end_token_id")


class Qwen3VL(QwenVL):
    """A Qwen3-VL checkpoint behind the VideoLanguageModel seam, see QwenVL."""

    traits = QwenTraits(
        other_places=patches.interpolation,
        is_interleaved=True,
        has_time_texts=True,
        model_facts=_MODEL_FACTS,
        vision_facts=_VISION_FACTS,
        text_facts=_TEXT_FACTS,
    )

    @torch.inference_mode()
    def forward(self, embeddings: Embeddings, forward_pass: ForwardPass) -> Tensor:
        # The index of the one row instead of a mask of tokens: every token has a deep layer, and that of text is zeros.
        rows = torch.arange(len(embeddings.tokens), device=self.spec.device) if embeddings.deep else None
        output = self.decoder(
            inputs_embeds=embeddings.tokens,
            position_ids=forward_pass.positions(),
            attention_mask=None,  # transformers builds none for an attention function of ours
            past_key_values=forward_pass,
            forward_pass=forward_pass,
            use_cache=True,
            visual_pos_masks=rows,
            deepstack_visual_embeds=list(embeddings.deep) or None,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
