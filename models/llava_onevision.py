"""The LLaVA-OneVision family: SigLIP, a projector, a Qwen2 decoder. The tiny model belongs to it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration, PretrainedConfig

from cache_store.positions import Positions
from cache_store.slabs import KVShape
from models import guidance, placement, processor_config
from models.checkpoint_files import CheckpointFiles
from models.embeddings import Embeddings
from models.fingerprint import fingerprint, previous_fingerprint
from models.frame_layout import FrameLayout
from models.generation_config import GenerationConfig
from models.processor_config import DEFAULT_SCALE, PixelScale
from models.prompts import Prompts, PromptTexts
from models.slot_attention import ATTENTION_NAME
from models.vision_language_model import ForwardPass, ModelSpec

TEXTS = PromptTexts(
    prefix="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    question="\n{question}<|im_end|>\n<|im_start|>assistant\n",
    guidance_local=guidance.LOCAL,
    guidance_global=guidance.GLOBAL,
    guidance_questions=guidance.QUESTIONS,
)

# What the config says that shapes keys and values and shows neither in the names nor in the shapes of the weights.
_MODEL_FACTS = ("projector_hidden_act", "vision_feature_layer", "vision_feature_select_strategy")
_VISION_FACTS = ("image_size", "patch_size", "num_attention_heads", "hidden_act", "layer_norm_eps")
_TEXT_FACTS = (
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "rms_norm_eps",
    "rope_parameters",
    "layer_types",
    "sliding_window",
)


def frame_options(files: CheckpointFiles, config: PretrainedConfig) -> dict[str, object]:
    """How a checkpoint's files say that frames are prepared. Raises ModelInvalid."""
    return {"pixels": processor_config.pixel_scale(files, config.vision_config.image_size)}


class LlavaOnevision:
    """A LLaVA-OneVision checkpoint behind the VideoLanguageModel seam.

    generation: greedy up to the tokenizer's end token unless given. reliable_positions: see ModelSpec; all positions
    unless given. Changes the attention function of `network`.
    """

    def __init__(
        self,
        network: LlavaOnevisionForConditionalGeneration,
        prompts: Prompts,
        *,
        name: str,
        pixels: PixelScale = DEFAULT_SCALE,
        generation: GenerationConfig | None = None,
        reliable_positions: int | None = None,
    ) -> None:
        network.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})
        self._network = network.eval().requires_grad_(False)
        self.decoder = network.model.language_model
        self._mean = torch.tensor(pixels.mean, device=network.device).view(3, 1, 1)
        self._std = torch.tensor(pixels.std, device=network.device).view(3, 1, 1)
        self.prompts = prompts
        self.generation = generation or GenerationConfig(end_ids=(prompts.end_id,))
        self.spec = _spec(network, name, prompts, pixels, reliable_positions)
        self._newline = Embeddings(network.model.image_newline.detach().to(self.spec.kv.dtype)[None])

    @torch.inference_mode()
    def embed_frames(self, groups: Tensor) -> Embeddings:
        pixels = groups[:, 0].to(self.spec.device).permute(0, 3, 1, 2).float() / 255
        scaled = ((pixels - self._mean) / self._std).to(self.spec.kv.dtype)
        features = self._network.model.get_video_features(scaled[None]).pooler_output[0]
        # Newer versions of transformers append the family's newline embedding to the video of every call. Here
        # `embed_question` adds it, once.
        num_cells = self.spec.layout.max_cells
        return Embeddings(features[: len(groups) * num_cells].view(len(groups), num_cells, -1))

    @torch.inference_mode()
    def embed_tokens(self, ids: Tensor) -> Embeddings:
        return Embeddings(self.decoder.get_input_embeddings()(ids))

    @torch.inference_mode()
    def embed_question(self, ids: Tensor) -> Embeddings:
        return Embeddings.concat(self._newline, self.embed_tokens(ids))

    @torch.inference_mode()
    def forward(self, embeddings: Embeddings, forward_pass: ForwardPass) -> Tensor:
        output = self.decoder(
            inputs_embeds=embeddings.tokens,
            position_ids=forward_pass.positions()[0],
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
    network: LlavaOnevisionForConditionalGeneration,
    name: str,
    prompts: Prompts,
    pixels: PixelScale,
    reliable_positions: int | None,
) -> ModelSpec:
    text, weights = network.config.text_config, network.state_dict()
    kv = KVShape(
        num_layers=text.num_hidden_layers,
        num_kv_heads=text.num_key_value_heads,
        head_dim=_head_dim(text),
        positions=Positions(network.model.language_model.rotary_emb.inv_freq.tolist(), device=network.device),
        dtype=network.dtype,
        device=network.device,
        devices=placement.layer_devices(network.model.language_model),
    )
    size, side = network.config.vision_config.image_size, _frame_side(network)
    return ModelSpec(
        name=name,
        fingerprint=fingerprint(_memory_facts(network, prompts, pixels), weights),
        previous_fingerprint=previous_fingerprint(prompts.texts, network.dtype, weights),
        kv=kv,
        max_positions=text.max_position_embeddings,
        reliable_positions=reliable_positions or text.max_position_embeddings,
        layout=FrameLayout(positions=kv.positions, cell=-(-size // side), max_cells=side**2, side=size),
    )


def _memory_facts(
    network: LlavaOnevisionForConditionalGeneration, prompts: Prompts, pixels: PixelScale
) -> dict[str, object]:
    """All that shapes keys and values beside the weights: their number type, the prefix as token ids, how pixels are
    scaled, how many tokens a frame has and what the config says of the vision encoder, the projector and the decoder.

    Left out is what decides only what is kept or said later: the texts of questions and of guidance, words of answers
    without evidence, where positions end, bounds and policy of the memory.
    """
    config = network.config
    return {
        "dtype": str(network.dtype),
        "prefix": prompts.prefix,
        "pixels": [pixels.mean, pixels.std],
        "tokens_per_frame": _frame_side(network) ** 2,
        "model": {name: getattr(config, name) for name in _MODEL_FACTS},
        "vision": {name: getattr(config.vision_config, name) for name in _VISION_FACTS},
        "text": {name: getattr(config.text_config, name) for name in _TEXT_FACTS},
        "head_dim": _head_dim(config.text_config),
    }


def _head_dim(text: PretrainedConfig) -> int:
    head_dim: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return head_dim


def _frame_side(network: LlavaOnevisionForConditionalGeneration) -> int:
    """Tokens along each side of a frame: the family pools patches two by two."""
    vision = network.config.vision_config
    side: int = -(-(vision.image_size // vision.patch_size) // 2)
    return side
