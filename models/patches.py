"""How the Qwen-VL families prepare frames: at their own shape, in patches, a few frames as one."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig

from models import processor_config
from models.checkpoint_files import CheckpointFiles
from models.processor_config import PixelScale

# Of a group of frames, unless the checkpoint's processor config has a lower cap: 512 x 512 pixels where a cell has 32.
# As published a frame may have 768, more than a memory of a few thousand tokens can spend on it.
MAX_CELLS = 256


def frame_options(files: CheckpointFiles, config: PretrainedConfig) -> dict[str, object]:
    """How a checkpoint's files say that frames are prepared. Raises ModelInvalid."""
    vision = config.vision_config
    pixels, cells = processor_config.native_scale(
        files,
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
        frames_per_group=vision.temporal_patch_size,
        max_cells=MAX_CELLS,
    )
    return {"pixels": pixels, "cells": cells}


class Patches:
    """Scales pixels and cuts them as one vision encoder reads them. vision: its config."""

    def __init__(self, vision: PretrainedConfig, pixels: PixelScale, device: torch.device) -> None:
        self._patch, self._merge = vision.patch_size, vision.spatial_merge_size
        self._mean = torch.tensor(pixels.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(pixels.std, device=device).view(3, 1, 1)

    def cut(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Patches in the order in which the encoder merges them, and the grid of each group.

        uint8 RGB [G, K, H, W, 3] -> [G · patches, pixels], [G, 3]
        """
        patch, merge = self._patch, self._merge
        rows, columns = (side // patch for side in groups.shape[2:4])
        grid = torch.tensor([[1, rows, columns]], device=self._mean.device).expand(len(groups), -1)
        pixels = groups.to(self._mean.device).permute(0, 1, 4, 2, 3).float() / 255
        scaled = (pixels - self._mean) / self._std
        blocks = torch.unflatten(torch.unflatten(scaled, 4, (-1, merge, patch)), 3, (-1, merge, patch))
        # [G, K, 3, R, merge, patch, C, merge, patch] -> cells, patches of a cell, then the pixels of a patch
        return blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).flatten(5).flatten(0, 4), grid
