"""The LLaVA-OneVision family: SigLIP, a projector, a Qwen2 decoder. The tiny model belongs to it."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from cache_store.slabs import KVShape
from models.prompts import Prompts, PromptTexts
from models.slot_cache import ATTENTION_NAME, SlotCache
from models.vision_language_model import ModelSpec

TEXTS = PromptTexts(
    prefix="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    question="\n{question}<|im_end|>\n<|im_start|>assistant\n",
    guidance_local="Say what can be seen right now: every object, what it does and where it is.",
    guidance_global="Tell the story of the video: who and what appeared, what happened in which order, what changed.",
    guidance_questions=(
        "What is in view?",
        "What came first?",
        "What came last?",
        "What left last?",
        "How many people so far?",
        "How many vehicles so far?",
        "How many animals so far?",
        "How many bags so far?",
    ),
)


@dataclass(frozen=True, slots=True)
class PixelScale:
    """How pixels in 0..1 are normalised, per channel."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class LlavaOnevision:
    """A LLaVA-OneVision checkpoint behind the VideoLanguageModel seam.

    reliable_positions: see ModelSpec; all positions unless given. Changes the attention function of `network`.
    """

    def __init__(
        self,
        network: LlavaOnevisionForConditionalGeneration,
        prompts: Prompts,
        *,
        name: str,
        pixels: PixelScale = PixelScale(),
        reliable_positions: int | None = None,
    ) -> None:
        network.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})
        self._network = network.eval().requires_grad_(False)
        self.decoder = network.model.language_model
        self._mean = torch.tensor(pixels.mean, device=network.device).view(3, 1, 1)
        self._std = torch.tensor(pixels.std, device=network.device).view(3, 1, 1)
        self.prompts = prompts
        self.spec = _spec(network, name, prompts, reliable_positions)

    @torch.inference_mode()
    def embed_frames(self, frames: Tensor) -> Tensor:
        pixels = frames.to(self.spec.device).permute(0, 3, 1, 2).float() / 255
        scaled = ((pixels - self._mean) / self._std).to(self.spec.kv.dtype)
        features = self._network.model.get_video_features(scaled[None]).pooler_output[0]
        # The family appends its newline embedding to the video of every call. Here `embed_question` adds it, once.
        per_frame: Tensor = features[:-1].view(len(frames), self.spec.tokens_per_frame, -1)
        return per_frame

    @torch.inference_mode()
    def embed_tokens(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.decoder.get_input_embeddings()(ids)
        return embedded

    @torch.inference_mode()
    def embed_question(self, ids: Tensor) -> Tensor:
        newline = self._network.model.image_newline.to(self.spec.kv.dtype)
        return torch.cat((newline[None], self.embed_tokens(ids)))

    @torch.inference_mode()
    def forward(self, embeddings: Tensor, forward_pass: SlotCache) -> Tensor:
        output = self.decoder(
            inputs_embeds=embeddings,
            position_ids=forward_pass.positions(),
            attention_mask={"full_attention": None},
            past_key_values=forward_pass,
            forward_pass=forward_pass,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    @torch.inference_mode()
    def next_token(self, hidden: Tensor) -> Tensor:
        token: Tensor = self._network.lm_head(hidden).argmax(dim=-1)
        return token


def _spec(
    network: LlavaOnevisionForConditionalGeneration, name: str, prompts: Prompts, reliable_positions: int | None
) -> ModelSpec:
    text, vision = network.config.text_config, network.config.vision_config
    side = -(-(vision.image_size // vision.patch_size) // 2)  # the family pools patches two by two
    kv = KVShape(
        num_layers=text.num_hidden_layers,
        num_kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        frequencies=tuple(network.model.language_model.rotary_emb.inv_freq.tolist()),
        dtype=network.dtype,
        device=network.device,
    )
    return ModelSpec(
        name=name,
        fingerprint=_fingerprint(network, prompts.texts),
        kv=kv,
        max_positions=text.max_position_embeddings,
        reliable_positions=reliable_positions or text.max_position_embeddings,
        tokens_per_frame=side * side,
        frame_size=vision.image_size,
    )


def _fingerprint(network: LlavaOnevisionForConditionalGeneration, texts: PromptTexts) -> str:
    """SHA-256 over the texts, the dtype, and the shape and a sample of every weight."""
    digest = hashlib.sha256(f"({_described(texts)}, {str(network.dtype)!r})".encode())
    for name, weight in sorted(network.state_dict().items()):
        sample = weight.flatten()[:: max(1, weight.numel() // 64)].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()


def _described(texts: PromptTexts) -> str:
    """The texts under the field names of the first version, so that checkpoints written then are still restored."""
    named = {field.name: getattr(texts, field.name) for field in dataclasses.fields(texts)}
    named["unwitnessed"] = named.pop("no_evidence_for")
    return f"PromptTexts({', '.join(f'{name}={value!r}' for name, value in named.items())})"
