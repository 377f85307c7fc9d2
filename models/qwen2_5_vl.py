"""The Qwen2.5-VL family: pairs of frames at their own shape, windowed vision attention, M-RoPE with absolute time.

A step of frames is one video, as the published HERMES reads it: time begins anew with each step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from cache_store import positions
from cache_store.positions import Positions
from cache_store.slabs import KVShape
from models import guidance, patches, placement
from models.embeddings import Embeddings
from models.fingerprint import fingerprint
from models.frame_layout import FrameLayout
from models.generation_config import GenerationConfig
from models.patches import MAX_CELLS, Patches
from models.processor_config import DEFAULT_SCALE, PixelScale
from models.prompts import Prompts, PromptTexts
from models.slot_attention import ATTENTION_NAME
from models.vision_language_model import ForwardPass, ModelSpec

TEXTS = PromptTexts(
    prefix="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    question="{question}<|im_end|>\n<|im_start|>assistant\n",
    guidance_local=guidance.LOCAL,
    guidance_global=guidance.GLOBAL,
    guidance_questions=guidance.QUESTIONS,
)

# What the config says that shapes keys and values and shows neither in the names nor in the shapes of the weights.
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


class Qwen25VL:
    """A Qwen2.5-VL checkpoint behind the VideoLanguageModel seam.

    generation: greedy up to the tokenizer's end token unless given. reliable_positions: see ModelSpec; all positions
    unless given. cells: of a group of frames, fewest and most. Changes the attention function of `network`.
    """

    def __init__(
        self,
        network: Qwen2_5_VLForConditionalGeneration,
        prompts: Prompts,
        *,
        name: str,
        pixels: PixelScale = DEFAULT_SCALE,
        generation: GenerationConfig | None = None,
        reliable_positions: int | None = None,
        cells: tuple[int, int] = (1, MAX_CELLS),
    ) -> None:
        network.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})
        self._network = network.eval().requires_grad_(False)
        self._patches = Patches(network.model.visual, pixels, network.device, patches.windows)
        self.decoder = network.model.language_model
        self.prompts = prompts
        self.generation = generation or GenerationConfig(end_ids=(prompts.end_id,))
        self.spec = _spec(network, name, prompts, pixels, reliable_positions, cells)

    @torch.inference_mode()
    def embed_frames(self, groups: Tensor) -> Embeddings:
        pixels, places = self._patches.cut(groups)
        output = self._network.model.visual(pixels.to(self.spec.kv.dtype), **places, return_dict=True)
        return Embeddings(output.pooler_output.view(len(groups), -1, output.pooler_output.shape[-1]))

    @torch.inference_mode()
    def embed_tokens(self, ids: Tensor) -> Embeddings:
        return Embeddings(self.decoder.get_input_embeddings()(ids))

    def embed_question(self, ids: Tensor) -> Embeddings:
        return self.embed_tokens(ids)

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

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._network.lm_head(hidden)
        return logits


def _spec(
    network: Qwen2_5_VLForConditionalGeneration,
    name: str,
    prompts: Prompts,
    pixels: PixelScale,
    reliable_positions: int | None,
    cells: tuple[int, int],
) -> ModelSpec:
    config = network.config
    text, vision, rotary = config.text_config, config.vision_config, network.model.language_model.rotary_emb
    axes = positions.section_axes(rotary.mrope_section, is_interleaved=False)
    kv = KVShape(
        num_layers=text.num_hidden_layers,
        num_kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        positions=Positions(rotary.inv_freq.tolist(), axes, device=network.device),
        dtype=network.dtype,
        device=network.device,
        devices=placement.layer_devices(network.model.language_model),
    )
    layout = FrameLayout(
        positions=kv.positions,
        cell=vision.patch_size * vision.spatial_merge_size,
        min_cells=cells[0],
        max_cells=cells[1],
        frames_per_group=vision.temporal_patch_size,
        before=lambda _: (config.vision_start_token_id,),
        after=(config.vision_end_token_id,),
        positions_per_s=vision.tokens_per_second,
    )
    digest = fingerprint(_memory_facts(network, prompts, pixels), network.state_dict())
    return ModelSpec(
        name=name,
        fingerprint=digest,
        previous_fingerprint=digest,  # the version before did not run this family
        kv=kv,
        max_positions=text.max_position_embeddings,
        reliable_positions=reliable_positions or text.max_position_embeddings,
        layout=layout,
    )


def _memory_facts(
    network: Qwen2_5_VLForConditionalGeneration, prompts: Prompts, pixels: PixelScale
) -> dict[str, object]:
    """All that shapes keys and values beside the weights, see LlavaOnevision."""
    config = network.config
    return {
        "dtype": str(network.dtype),
        "prefix": prompts.prefix,
        "pixels": [pixels.mean, pixels.std],
        "model": {name: getattr(config, name) for name in _MODEL_FACTS},
        "vision": {name: getattr(config.vision_config, name) for name in _VISION_FACTS},
        "text": {name: getattr(config.text_config, name) for name in _TEXT_FACTS},
    }
