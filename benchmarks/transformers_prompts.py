"""A history of frames and a question as transformers' own models read them at once: what a memory is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from models.vision_language_model import VideoLanguageModel


def prompt_of(
    model: VideoLanguageModel, frames: Tensor, times_s: Sequence[float], text: Sequence[int], split: Sequence[int]
) -> dict[str, Any]:
    """The input of the network of a model: its prefix, frames, and text. uint8 RGB [F, H, W, 3]

    split: the frames of each video, for families in which a step of frames is one.
    """
    config = model._network.config  # type: ignore[attr-defined]
    if config.model_type == "llava_onevision":
        return _llava_onevision(model, frames, text)
    if config.model_type == "qwen2_5_vl":
        return _qwen2_5_vl(model, config, frames, times_s, text, split)
    return _with_times(model, config, frames, times_s, text)


def _llava_onevision(model: Any, frames: Tensor, text: Sequence[int]) -> dict[str, Any]:
    num_cells = len(frames) * model.spec.layout.max_cells
    ids = [*model.prompts.prefix, *[model._network.config.video_token_id] * (num_cells + 1), *text]
    pixels = (frames.permute(0, 3, 1, 2).float() / 255 - model._mean) / model._std
    return {"input_ids": torch.tensor([ids]), "pixel_values_videos": pixels[None].to(model.spec.kv.dtype)}


def _qwen2_5_vl(
    model: VideoLanguageModel,
    config: PretrainedConfig,
    frames: Tensor,
    times_s: Sequence[float],
    text: Sequence[int],
    split: Sequence[int],
) -> dict[str, Any]:
    videos = [_patches(model, config, part) for part in torch.split(frames, list(split))]
    grid = torch.cat([video["video_grid_thw"] for video in videos])
    sequence = list(model.prompts.prefix)
    for one in grid:
        sequence += _cells(config, int(one.prod()) // config.vision_config.spatial_merge_size**2)
    prompted = torch.tensor([[*sequence, *text]])
    return {
        "input_ids": prompted,
        "pixel_values_videos": torch.cat([video["pixel_values_videos"] for video in videos]),
        "video_grid_thw": grid,
        "second_per_grid_ts": torch.tensor([2 * (times_s[1] - times_s[0])] * len(videos)),
        "mm_token_type_ids": 2 * (prompted == config.video_token_id).int(),
    }


def _with_times(
    model: VideoLanguageModel, config: PretrainedConfig, frames: Tensor, times_s: Sequence[float], text: Sequence[int]
) -> dict[str, Any]:
    """The prompt of Qwen3-VL and Qwen3.5: a time in front of each pair of frames."""
    video = _patches(model, config, frames)
    grid = video["video_grid_thw"]
    num_cells = int(grid[0, 1:].prod()) // config.vision_config.spatial_merge_size**2
    sequence = list(model.prompts.prefix)
    for start in range(0, len(frames), 2):
        group = times_s[start : start + 2]
        time_s = (group[0] + group[-1]) / 2 - times_s[0]
        sequence += [*model.prompts.encode(f"<{time_s:.1f} seconds>"), *_cells(config, num_cells)]
    prompted = torch.tensor([[*sequence, *text]])
    return {
        "input_ids": prompted,
        "pixel_values_videos": video["pixel_values_videos"],
        "video_grid_thw": grid,
        "mm_token_type_ids": 2 * (prompted == config.video_token_id).int(),
    }


def _cells(config: PretrainedConfig, number: int) -> list[int]:
    return [config.vision_start_token_id, *[config.video_token_id] * number, config.vision_end_token_id]


def _patches(model: VideoLanguageModel, config: PretrainedConfig, frames: Tensor) -> dict[str, Tensor]:
    """What the processor of Qwen3-VL makes of frames; that of Qwen2.5-VL cuts them alike."""
    pixels = (frames.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    vision = config.vision_config
    # Called without its class, which cannot be made without torchvision.
    cut = Qwen3VLVideoProcessor.patchify(
        None,
        pixels[None],
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=vision.temporal_patch_size,
    )
    return {
        "pixel_values_videos": cut[0][0].to(model.spec.kv.dtype),
        "video_grid_thw": torch.tensor([cut[1:]]),
    }
