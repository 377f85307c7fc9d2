"""How the Qwen-VL families prepare frames: at their own shape, in patches, a few frames as one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, vision_utils

from models import processor_config
from models.checkpoint_files import CheckpointFiles
from models.processor_config import PixelScale
from ops import transfer

# Of a group of frames, unless the checkpoint's processor config has a lower cap: 512 x 512 pixels where a cell has 32.
# As published a frame may have 768, more than a memory of a few thousand tokens can spend on it.
MAX_CELLS = 256
_PLACES_KEPT = 8  # of numbers and sizes of groups of frames

# From an encoder and its grid on the host: the arguments about the places of patches, beside their positions.
OtherPlaces = Callable[[Any, Tensor], dict[str, Tensor]]


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


def interpolation(visual: Any, grid: Tensor) -> dict[str, Tensor]:
    """For an encoder whose learned positions are a square that is stretched over each frame."""
    indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=visual.spatial_merge_size,
    )
    return {"interp_indices": indices, "interp_weights": weights}


def windows(visual: Any, grid: Tensor) -> dict[str, Tensor]:
    """For an encoder most of whose layers attend in windows."""
    index, ends = vision_utils.get_vision_window_index(
        grid,
        spatial_merge_size=visual.spatial_merge_size,
        window_size=visual.window_size,
        patch_size=visual.patch_size,
    )
    return {"window_index": index, "cu_window_seqlens": ends}


class Patches:
    """Scales pixels, cuts them as one vision encoder reads them, and says where they are. visual: that encoder."""

    def __init__(self, visual: Any, pixels: PixelScale, device: torch.device, other_places: OtherPlaces) -> None:
        self._visual = visual
        self._patch, self._merge = visual.config.patch_size, visual.config.spatial_merge_size
        self._mean = torch.tensor(pixels.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(pixels.std, device=device).view(3, 1, 1)
        self._other_places = other_places
        self._places = functools.lru_cache(_PLACES_KEPT)(self._find_places)

    def cut(self, groups: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Patches in the order in which the encoder merges them, and what it is told of their places.

        uint8 RGB [G, K, H, W, 3] -> [G · patches, pixels]
        """
        patch, merge = self._patch, self._merge
        rows, columns = (side // patch for side in groups.shape[2:4])
        pixels = transfer.to_device(groups, self._mean.device).permute(0, 1, 4, 2, 3).float() / 255
        scaled = (pixels - self._mean) / self._std
        blocks = torch.unflatten(torch.unflatten(scaled, 4, (-1, merge, patch)), 3, (-1, merge, patch))
        # [G, K, 3, R, merge, patch, C, merge, patch] -> cells, patches of a cell, then the pixels of a patch
        patches = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).flatten(5).flatten(0, 4)
        return patches, dict(self._places(len(groups), rows, columns))

    def _find_places(self, num_groups: int, rows: int, columns: int) -> dict[str, Tensor]:
        """Where the patches of so many groups of frames are, found on the host.

        From a grid on a GPU transformers finds the same, but waits for the GPU each time, and three times in every
        layer for the numbers of patches that attend to each other. So those numbers stay on the host.
        """
        grid = torch.tensor([[1, rows, columns]]).expand(num_groups, -1)
        on_host = {"grid_thw": grid, "cu_seqlens": vision_utils.get_vision_cu_seqlens(grid)}
        places = {
            "position_ids": vision_utils.get_vision_position_ids(grid, self._visual.spatial_merge_size),
            **self._other_places(self._visual, grid),
        }
        return on_host | {
            name: place if name.startswith("cu_") else transfer.to_device(place, self._mean.device)
            for name, place in places.items()
        }
