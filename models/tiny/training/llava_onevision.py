"""LLaVA-OneVision in training: each frame is a group of its own, no text between frames, one position a token."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel

from models.prompts import PromptTexts
from models.tiny.network import FRAME_SIDE, PIXEL_MEAN, PIXEL_STD, TOKENS_PER_FRAME, build_model
from models.tiny.scenes.ground_truth import NUMBERS
from models.tiny.training.architecture import Context, Grid, VideoTokens
from models.tiny.training.batches import NEWLINE, Batch, packed_mask, place_video
from models.tiny.training.clips import Clip
from models.tiny.training.stages import LLAVA_ONEVISION_STAGES, Stage
from models.tiny.vocabulary import (
    GUIDANCE_GLOBAL,
    GUIDANCE_LOCAL,
    GUIDANCE_QUESTIONS,
    PREFIX_TEXT,
    QUESTION_TEXT,
    build_tokenizer,
)


class LlavaOnevisionArchitecture:
    """The architecture of the first tiny model."""

    frames_per_group = 1
    grids: Sequence[Grid] = ((4, 4),)
    position_gaps: Sequence[int] = (TOKENS_PER_FRAME,)
    question_lead: Sequence[int] = (NEWLINE,)
    stages: Sequence[Stage] = LLAVA_ONEVISION_STAGES
    texts = PromptTexts(
        prefix=PREFIX_TEXT,
        question=QUESTION_TEXT,
        guidance_local=GUIDANCE_LOCAL,
        guidance_global=GUIDANCE_GLOBAL,
        guidance_questions=GUIDANCE_QUESTIONS,
        no_evidence_for=("no", "none", "nothing", *NUMBERS),
    )

    def __init__(self) -> None:
        self.tokenizer = build_tokenizer()
        size = {"height": FRAME_SIDE, "width": FRAME_SIDE}
        self.preprocessor: dict[str, object] = {
            "image_mean": [PIXEL_MEAN] * 3,
            "image_std": [PIXEL_STD] * 3,
            "size": size,
        }

    def build(self, seed: int) -> PreTrainedModel:
        return build_model(self.tokenizer, seed)

    def load(self, folder: Path) -> PreTrainedModel:
        return LlavaOnevisionForConditionalGeneration.from_pretrained(folder)

    def context(self, clip: Clip) -> Context:
        group, cell = np.divmod(np.arange(len(clip.groups) * TOKENS_PER_FRAME), TOKENS_PER_FRAME)
        positions = clip.stream_groups[group] * TOKENS_PER_FRAME + cell
        return Context(np.arange(len(group)), np.zeros_like(group), group, positions)

    def embed_video(self, network: PreTrainedModel, pixels: Tensor) -> VideoTokens:
        normal = (pixels[:, :, 0].permute(0, 1, 4, 2, 3).float() / 255 - PIXEL_MEAN) / PIXEL_STD
        # The family appends its newline embedding to every video; here it stands in front of each question.
        return VideoTokens(network.model.get_video_features(normal).pooler_output[:, :-1])

    def hidden_states(
        self, network: PreTrainedModel, batch: Batch, video: VideoTokens
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        embedded = network.get_input_embeddings()(batch.text.clamp(min=0))
        embedded = torch.where((batch.text == NEWLINE)[..., None], network.model.image_newline, embedded)
        output = network.model.language_model(
            inputs_embeds=place_video(embedded, batch, video.embedded),
            attention_mask={"full_attention": packed_mask(batch)},
            position_ids=batch.positions,
            use_cache=False,
            output_hidden_states=True,
        )
        return output.last_hidden_state, output.hidden_states
