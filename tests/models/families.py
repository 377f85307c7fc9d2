"""Every family with random weights of a small shape, and the same prompt as transformers itself builds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from models.prompts import Prompts, PromptTexts
from models.qwen2_5_vl import Qwen25VL
from models.qwen3_5 import Qwen35
from models.qwen3_vl import Qwen3VL
from models.tiny import network, vocabulary
from models.vision_language_model import VideoLanguageModel
from tests.conftest import random_model

TEXTS = PromptTexts(
    prefix=vocabulary.PREFIX_TEXT,
    question=vocabulary.QUESTION_TEXT,
    guidance_local=vocabulary.GUIDANCE_LOCAL,
    guidance_global=vocabulary.GUIDANCE_GLOBAL,
    guidance_questions=vocabulary.GUIDANCE_QUESTIONS,
)


Prompt = Callable[[Tensor, Sequence[float], Sequence[int], Sequence[int]], dict[str, Any]]


@dataclass(frozen=True)
class Family:
    """A model behind the seam. prompt: the input of transformers' own model, by frames, times, text, split."""

    model: VideoLanguageModel
    width: int
    height: int
    prompt: Prompt

    def frames(self, num_frames: int, seed: int = 0) -> Tensor:
        """uint8 [F, H, W, 3]"""
        generator = torch.Generator().manual_seed(seed)
        size = (num_frames, self.height, self.width, 3)
        return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def llava_onevision() -> Family:
    model = random_model(network.build_model(vocabulary.build_tokenizer(), seed=0))

    def prompt(frames: Tensor, times_s: Sequence[float], text: Sequence[int], _split: Sequence[int]) -> dict[str, Any]:
        config = model._network.config
        num_cells = len(frames) * model.spec.layout.max_cells
        ids = [*model.prompts.prefix, *[config.video_token_id] * (num_cells + 1), *text]
        pixels = (frames.permute(0, 3, 1, 2).float() / 255 - model._mean) / model._std
        return {"input_ids": torch.tensor([ids]), "pixel_values_videos": pixels[None]}

    return Family(model, 64, 64, prompt)


def qwen3_vl() -> Family:
    """Two deep layers, sections of interleaved M-RoPE as in the published models, wide frames of 3 x 5 cells."""
    tokenizer = vocabulary.build_tokenizer()
    ids = _vision_ids(len(tokenizer))
    config = Qwen3VLConfig(
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64, "initializer_range": 0.2,
        },
        text_config={
            "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096, "vocab_size": len(tokenizer) + 4,
            "initializer_range": 0.1, "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True,
            },
        },
        tie_word_embeddings=True,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3VL(Qwen3VLForConditionalGeneration(config), Prompts(tokenizer, TEXTS), name="random", cells=(1, 15))
    return Family(model, 5 * 16, 3 * 16, _with_times(model, ids))


def qwen2_5_vl() -> Family:
    """Windows of vision attention of 2 x 2 cells, M-RoPE in sections, a step of frames as one video."""
    tokenizer = vocabulary.build_tokenizer()
    ids = _vision_ids(len(tokenizer))
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8,
            "out_hidden_size": 64, "fullatt_block_indexes": [1], "window_size": 32, "tokens_per_second": 1,
            "initializer_range": 0.2,
        },
        text_config={
            "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 2,
            "num_key_value_heads": 1, "max_position_embeddings": 4096, "vocab_size": len(tokenizer) + 4,
            "initializer_range": 0.1, "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6],
            },
        },
        tie_word_embeddings=True,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    network = Qwen2_5_VLForConditionalGeneration(config)
    model = Qwen25VL(network, Prompts(tokenizer, TEXTS), name="random", cells=(1, 15))

    def prompt(frames: Tensor, times_s: Sequence[float], text: Sequence[int], split: Sequence[int]) -> dict[str, Any]:
        videos = [_patches(part) for part in frames.split(list(split))]
        grid = torch.cat([video["video_grid_thw"] for video in videos])
        sequence = list(model.prompts.prefix)
        for one in grid:
            sequence += [ids["vision_start"], *[ids["video"]] * (int(one.prod()) // 4), ids["vision_end"]]
        prompted = torch.tensor([[*sequence, *text]])
        return {
            "input_ids": prompted,
            "pixel_values_videos": torch.cat([video["pixel_values_videos"] for video in videos]),
            "video_grid_thw": grid,
            "second_per_grid_ts": torch.tensor([2 * (times_s[1] - times_s[0])] * len(videos)),
            "mm_token_type_ids": 2 * (prompted == ids["video"]).int(),
        }

    return Family(model, 5 * 16, 3 * 16, prompt)


def qwen3_5() -> Family:
    """One full layer behind two recurrent ones, twice; half of a head is rotated."""
    tokenizer = vocabulary.build_tokenizer()
    ids = _vision_ids(len(tokenizer))
    config = Qwen3_5Config(
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8,
            "out_hidden_size": 64, "num_position_embeddings": 64, "initializer_range": 0.2,
        },
        text_config={
            "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096,
            "vocab_size": len(tokenizer) + 4, "initializer_range": 0.1,
            "layer_types": ["linear_attention", "linear_attention", "full_attention"] * 2,
            "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
            "linear_num_value_heads": 4, "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [3, 3, 2], "mrope_interleaved": True,
                "partial_rotary_factor": 0.5,
            },
        },
        tie_word_embeddings=True,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen35(Qwen3_5ForConditionalGeneration(config), Prompts(tokenizer, TEXTS), name="random", cells=(1, 15))
    return Family(model, 5 * 16, 3 * 16, _with_times(model, ids))


def _with_times(model: VideoLanguageModel, ids: dict[str, int]) -> Prompt:
    """The prompt of Qwen3-VL and Qwen3.5: a time in front of each pair of frames."""

    def prompt(frames: Tensor, times_s: Sequence[float], text: Sequence[int], _split: Sequence[int]) -> dict[str, Any]:
        video = _patches(frames)
        grid = video["video_grid_thw"]
        cells = int(grid[0, 1:].prod()) // 4
        sequence = list(model.prompts.prefix)
        for start in range(0, len(frames), 2):
            group = times_s[start : start + 2]
            time_s = (group[0] + group[-1]) / 2 - times_s[0]
            sequence += model.prompts.encode(f"<{time_s:.1f} seconds>")
            sequence += [ids["vision_start"], *[ids["video"]] * cells, ids["vision_end"]]
        prompted = torch.tensor([[*sequence, *text]])
        return {
            "input_ids": prompted,
            "pixel_values_videos": video["pixel_values_videos"],
            "video_grid_thw": grid,
            "mm_token_type_ids": 2 * (prompted == ids["video"]).int(),
        }

    return prompt


def _vision_ids(first: int) -> dict[str, int]:
    """Ids behind a vocabulary for the tokens of vision."""
    return dict(zip(("image", "video", "vision_start", "vision_end"), range(first, first + 4), strict=True))


def _patches(frames: Tensor) -> dict[str, Tensor]:
    """What the processor of Qwen3-VL makes of frames; that of Qwen2.5-VL cuts them alike. uint8 [F, H, W, 3]"""
    pixels = (frames.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    # Called without its class, which cannot be made without torchvision.
    cut = Qwen3VLVideoProcessor.patchify(None, pixels[None], patch_size=8, merge_size=2, temporal_patch_size=2)
    return {"pixel_values_videos": cut[0][0], "video_grid_thw": torch.tensor([cut[1:]])}


FAMILIES: dict[str, Callable[[], Family]] = {
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_5": qwen3_5,
    "qwen3_vl": qwen3_vl,
}
