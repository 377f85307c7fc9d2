"""Qwen3-VL in training: two frames are a group, a timestamp stands before each, a token has three positions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, Qwen3VLForConditionalGeneration

from models.prompts import PromptTexts
from models.tiny.network import PIXEL_MEAN, PIXEL_STD
from models.tiny.qwen3_vl_network import MERGE, PAIR, PATCH, PIXELS, build_qwen3_vl
from models.tiny.scenes.ground_truth import NUMBERS
from models.tiny.training.architecture import Context, Grid, VideoTokens
from models.tiny.training.batches import Batch, packed_mask, place_video
from models.tiny.training.clips import Clip
from models.tiny.training.stages import QWEN3_VL_STAGES, Stage
from models.tiny.vocabulary import (
    GUIDANCE_GLOBAL,
    GUIDANCE_LOCAL,
    GUIDANCE_QUESTIONS,
    QWEN_PREFIX_TEXT,
    QWEN_QUESTION_TEXT,
    VISION_END,
    VISION_START,
    build_qwen_tokenizer,
)

_SKIPPED_POSITIONS = 10  # of a group that a clip lacks: four digits, two markers and four for the grid


class Qwen3VLArchitecture:
    """The architecture of the second tiny model."""

    frames_per_group = PAIR
    grids: Sequence[Grid] = ((4, 4), (3, 5))  # a square frame, and one of 16:9 with as many pixels
    position_gaps: Sequence[int] = (1, 4, 10, 16)
    question_lead: Sequence[int] = ()
    stages: Sequence[Stage] = QWEN3_VL_STAGES
    texts = PromptTexts(
        prefix=QWEN_PREFIX_TEXT,
        question=QWEN_QUESTION_TEXT,
        guidance_local=GUIDANCE_LOCAL,
        guidance_global=GUIDANCE_GLOBAL,
        guidance_questions=GUIDANCE_QUESTIONS,
        no_evidence_for=("no", "none", "nothing", *NUMBERS),
    )

    def __init__(self) -> None:
        self.tokenizer = build_qwen_tokenizer()
        self._start, self._end = self.tokenizer.convert_tokens_to_ids([VISION_START, VISION_END])
        self.preprocessor: dict[str, object] = {
            "image_mean": [PIXEL_MEAN] * 3,
            "image_std": [PIXEL_STD] * 3,
            "size": {"shortest_edge": PIXELS, "longest_edge": PIXELS},
            "patch_size": PATCH,
            "merge_size": MERGE,
            "temporal_patch_size": PAIR,
        }

    def build(self, seed: int) -> PreTrainedModel:
        return build_qwen3_vl(self.tokenizer, seed)

    def load(self, folder: Path) -> PreTrainedModel:
        return Qwen3VLForConditionalGeneration.from_pretrained(folder)

    def context(self, clip: Clip) -> Context:
        """For each group its timestamp, a marker, the grid and a marker. The positions are the temporal ones."""
        rows, columns = clip.grid
        parts: list[tuple[NDArray[np.int64], ...]] = []
        position = 0
        skipped = np.diff(clip.stream_groups, prepend=clip.stream_groups[0] - 1) - 1
        for group, at_s in enumerate(clip.times_s):
            position += int(skipped[group]) * _SKIPPED_POSITIONS
            stamp = self.tokenizer(f"<{at_s:.1f} seconds>")["input_ids"]
            text = np.array([*stamp, self._start, *[0] * (rows * columns), self._end])
            video = np.full(len(text), -1)
            video[len(stamp) + 1 : -1] = group * rows * columns + np.arange(rows * columns)
            offsets: NDArray[np.int64] = np.cumsum(video < 0) - (
                video < 0
            )  # the grid does not advance the temporal position
            offsets[-1] += max(rows, columns)
            parts.append((video, text, np.full(len(text), group), position + offsets))
            position += int(offsets[-1]) + 1
        return Context(*[np.concatenate(column) for column in zip(*parts, strict=True)])

    def embed_video(self, network: PreTrainedModel, pixels: Tensor) -> VideoTokens:
        batch, groups, _, height, width, _ = pixels.shape
        patches = patchify((pixels.flatten(0, 1).float() / 255 - PIXEL_MEAN) / PIXEL_STD)
        grid = torch.tensor([[groups, height // PATCH, width // PATCH]] * batch)
        features = network.model.get_video_features(patches, grid)
        deepstack = tuple(torch.stack(level) for level in features.deepstack_features)
        return VideoTokens(torch.stack(features.pooler_output), deepstack)

    def hidden_states(
        self, network: PreTrainedModel, batch: Batch, video: VideoTokens
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        is_video = batch.video >= 0
        rows = is_video.nonzero()[:, 0]
        output = network.model.language_model(
            inputs_embeds=place_video(network.get_input_embeddings()(batch.text), batch, video.embedded),
            attention_mask=packed_mask(batch),
            position_ids=_three_positions(batch),
            use_cache=False,
            output_hidden_states=True,
            visual_pos_masks=is_video,
            deepstack_visual_embeds=[level[rows, batch.video[is_video]] for level in video.deepstack],
        )
        return output.last_hidden_state, output.hidden_states


def patchify(pixels: Tensor) -> Tensor:
    """Patches in the order of the family's processor: those that become one token next to each other.

    [N, F, H, W, 3] -> [N * patches, 3 * F * PATCH * PATCH]
    """
    groups, frames, height, width, channels = pixels.shape
    across = (groups, frames, height // PATCH // MERGE, MERGE, PATCH, width // PATCH // MERGE, MERGE, PATCH, channels)
    ordered = pixels.reshape(across).permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return ordered.reshape(-1, channels * frames * PATCH * PATCH)


def _three_positions(batch: Batch) -> Tensor:
    """Temporal, height and width positions: those of a grid's token are its row and column after the temporal one.

    [3, B, S]
    """
    rows, columns = batch.grid
    cell = batch.video.clamp(min=0) % (rows * columns)
    is_video = batch.video >= 0
    offsets = torch.stack((torch.zeros_like(cell), cell // columns, cell % columns)) * is_video
    return batch.positions + offsets
