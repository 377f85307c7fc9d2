"""Which patches of a camera's frames have changed: the unchanged ones are skipped. Device thread only."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ops import change

# A patch has changed if it differs by this many times the noise, which is how much the median patch differs from one
# frame to the next. In 20,000 simulated frames without a visitor no patch did; each of 334 visitors did at once.
_CHANGE_PER_NOISE = 2.5
# Limits of the noise, in levels of 255. Less is rounding; more is no noise but a camera that moves.
_MIN_NOISE = 0.5
_MAX_NOISE = 4.0
_NOISE_FRAMES = 64  # whose median is the noise
_MIN_NOISE_FRAMES = 4  # until then every frame passes whole
_MAX_CHANGED_SHARE = 0.5  # of a frame's patches; if more have changed, the whole frame passes

Grid = Callable[[int, int], tuple[int, int]]  # from the width and height of frames to rows and columns of patches


class ChangeGate(Protocol):
    """What decides which patches of a camera's frames are appended to its memory."""

    def admit(self, frames: Tensor, times_s: Sequence[float]) -> Tensor:
        """The patches of a step of frames to append. uint8 RGB [F, H, W, 3], F -> bool [F, R · C], on the CPU"""
        ...

    def invalidate(self) -> None:
        """The patches admitted last were not appended after all: the next frame passes whole."""
        ...


class OpenGate:
    """Admits every patch."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def admit(self, frames: Tensor, times_s: Sequence[float]) -> Tensor:
        rows, columns = self._grid(frames.shape[2], frames.shape[1])
        return torch.ones(len(frames), rows * columns, dtype=torch.bool)

    def invalidate(self) -> None:
        """Nothing to invalidate: every frame passes whole."""


class StaticGate:
    """Admits the patches that changed since they were last admitted; of a still scene none. grid: of frames of a size.

    Each patch is compared with the patch admitted last, not with the frame before, so that a slow change adds up
    until it passes. A gain common to all patches is no change, so that drifting light and lamps are none. If a step
    admits single patches, its last frame passes whole, because questions about "now" are answered from the newest
    frame of a memory. A frame also passes whole `key_frame_every_s` after the last whole one, and if its size is new.
    """

    def __init__(self, grid: Grid, *, key_frame_every_s: float) -> None:
        self._grid = grid
        self._size = (0, 0)  # of the grid
        self._key_frame_every_s = key_frame_every_s
        self._noises: deque[float] = deque(maxlen=_NOISE_FRAMES)
        self._newest: Tensor | None = None  # block means of the newest frame
        self._admitted: Tensor | None = None  # block means of each patch when it was last admitted, in today's light
        self._last_whole_s = -math.inf

    def admit(self, frames: Tensor, times_s: Sequence[float]) -> Tensor:
        size = self._grid(frames.shape[2], frames.shape[1])
        if size != self._size:
            self._size, self._newest, self._admitted = size, None, None
        blocks = change.block_means(frames, *size)
        admitted: list[Tensor] = []
        has_part = False
        for index, time_s in enumerate(times_s):
            is_changed = self._changed_patches(blocks[index], time_s)
            share, is_last = float(is_changed.float().mean()), index == len(times_s) - 1
            if share > _MAX_CHANGED_SHARE or (is_last and (has_part or share)):
                is_changed = torch.ones_like(is_changed)
            has_part = (has_part or bool(is_changed.any())) and not bool(is_changed.all())
            self._note(blocks[index], is_changed, time_s)
            admitted.append(is_changed)
        return torch.stack(admitted).cpu()

    def invalidate(self) -> None:
        self._admitted = None

    def _changed_patches(self, blocks: Tensor, time_s: float) -> Tensor:
        """The patches changed since they were admitted, all if the noise is unknown or a whole frame is due. -> [P]"""
        if self._newest is not None:
            self._noises.append(float(change.cell_changes(blocks, self._newest).median()))
        is_due = time_s - self._last_whole_s >= self._key_frame_every_s
        if self._admitted is None or is_due or len(self._noises) < _MIN_NOISE_FRAMES:
            return torch.ones(math.prod(self._size), dtype=torch.bool, device=blocks.device)
        noise = min(max(statistics.median(self._noises), _MIN_NOISE), _MAX_NOISE)
        return change.cell_changes(blocks, self._admitted) > _CHANGE_PER_NOISE * noise

    def _note(self, blocks: Tensor, is_admitted: Tensor, time_s: float) -> None:
        self._newest = blocks
        if bool(is_admitted.all()):
            self._admitted, self._last_whole_s = blocks, time_s
        elif self._admitted is not None and bool(is_admitted.any()):
            self._admitted = change.update_reference(self._admitted, blocks, is_admitted)
