"""What the Qwen-VL families share: frames in patches at their own shape, M-RoPE, and one row of traits a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from cache_store import positions
from cache_store.positions import Positions
from cache_store.slabs import KVShape, RecurrentShape
from models import placement
from models.embeddings import Embeddings
from models.fingerprint import fingerprint
from models.frame_layout import FrameLayout
from models.generation_config import GenerationConfig
from models.patches import MAX_CELLS, OtherPlaces, Patches
from models.processor_config import DEFAULT_SCALE, PixelScale
from models.prompts import Prompts
from models.slot_attention import ATTENTION_NAME
from models.vision_language_model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenTraits:
    """What tells the families apart, their forward pass aside.

    other_places: see `Patches`. is_interleaved: whether the axes of M-RoPE take turns, else they are in sections.
    has_time_texts: whether the time of a group of frames is text in front of it, else it is in the positions.
    model_facts, vision_facts, text_facts: keys of the config that shape keys and values and show neither in the names
    nor in the shapes of the weights. recurrent: the recurrent layers of a decoder, from its config.
    """

    other_places: OtherPlaces
    is_interleaved: bool
    has_time_texts: bool
    model_facts: tuple[str, ...]
    vision_facts: tuple[str, ...]
    text_facts: tuple[str, ...]
    recurrent: Callable[[PretrainedConfig], RecurrentShape] | None = None


class QwenVL:
    """A Qwen-VL checkpoint behind the VideoLanguageModel seam; a family adds its traits and `forward`.

    generation: greedy up to the tokenizer's end token unless given. reliable_positions: see ModelSpec; all positions
    unless given. cells: of a group of frames, fewest and most. Changes the attention function of `network`.
    """

    traits: ClassVar[QwenTraits]

    def __init__(
        self,
        network: PreTrainedModel,
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
        self._patches = Patches(network.model.visual, pixels, network.device, self.traits.other_places)
        self.decoder = network.model.language_model
        self.prompts = prompts
        self.generation = generation or GenerationConfig(end_ids=(prompts.end_id,))
        kv, max_positions = _kv_shape(network, self.traits), network.config.text_config.max_position_embeddings
        digest = fingerprint(_memory_facts(network, prompts, pixels, self.traits), network.state_dict())
        self.spec = ModelSpec(
            name=name,
            fingerprint=digest,
            previous_fingerprint=digest,  # the version before did not run these families
            kv=kv,
            max_positions=max_positions,
            reliable_positions=reliable_positions or max_positions,
            layout=_layout(network.config, prompts, kv, cells, self.traits),
        )

    @torch.inference_mode()
    def embed_frames(self, groups: Tensor) -> Embeddings:
        pixels, places = self._patches.cut(groups)
        output = self._network.model.visual(pixels.to(self.spec.kv.dtype), **places, return_dict=True)
        features = Embeddings(output.pooler_output, tuple(getattr(output, "deepstack_features", None) or ()))
        return features.map(lambda cells: cells.view(len(groups), -1, cells.shape[-1]))

    @torch.inference_mode()
    def embed_tokens(self, ids: Tensor) -> Embeddings:
        return Embeddings(self.decoder.get_input_embeddings()(ids))

    def embed_question(self, ids: Tensor) -> Embeddings:
        return self.embed_tokens(ids)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._network.lm_head(hidden)
        return logits


def _kv_shape(network: PreTrainedModel, traits: QwenTraits) -> KVShape:
    text, decoder = network.config.text_config, network.model.language_model
    recurrent = traits.recurrent(text) if traits.recurrent is not None else None
    axes = positions.section_axes(decoder.rotary_emb.mrope_section, is_interleaved=traits.is_interleaved)
    return KVShape(
        num_layers=text.num_hidden_layers - (len(recurrent.layers) if recurrent is not None else 0),
        num_kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        positions=Positions(decoder.rotary_emb.inv_freq.tolist(), axes, device=network.device),
        dtype=network.dtype,
        device=network.device,
        recurrent=recurrent,
        devices=placement.layer_devices(decoder),
    )


def _layout(
    config: PretrainedConfig, prompts: Prompts, kv: KVShape, cells: tuple[int, int], traits: QwenTraits
) -> FrameLayout:
    vision, start = config.vision_config, config.vision_start_token_id

    def before(time_s: float) -> tuple[int, ...]:
        return (*prompts.encode(_time_text(time_s)), start) if traits.has_time_texts else (start,)

    return FrameLayout(
        positions=kv.positions,
        cell=vision.patch_size * vision.spatial_merge_size,
        min_cells=cells[0],
        max_cells=cells[1],
        frames_per_group=vision.temporal_patch_size,
        before=before,
        after=(config.vision_end_token_id,),
        positions_per_s=None if traits.has_time_texts else vision.tokens_per_second,
    )


def _memory_facts(
    network: PreTrainedModel, prompts: Prompts, pixels: PixelScale, traits: QwenTraits
) -> dict[str, object]:
    """All that shapes keys and values beside the weights, see LlavaOnevision."""
    config = network.config
    facts: dict[str, object] = {
        "dtype": str(network.dtype),
        "prefix": prompts.prefix,
        "pixels": [pixels.mean, pixels.std],
        "model": {name: getattr(config, name) for name in traits.model_facts},
        "vision": {name: getattr(config.vision_config, name) for name in traits.vision_facts},
        "text": {name: getattr(config.text_config, name) for name in traits.text_facts},
    }
    return facts | {"time": prompts.encode(_time_text(1234567890.5))} if traits.has_time_texts else facts


def _time_text(time_s: float) -> str:
    """The text in front of a group of frames, as published."""
    return f"<{time_s:.1f} seconds>"
