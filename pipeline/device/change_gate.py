"""The static gate: which cells of a camera's frames are worth reading, because they changed. Device thread only."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ops import change

# A cell has changed when it differs by this many times what the middle cell differs by from one frame to the next: in
# 20,000 simulated frames without a visitor no cell did, and each of 334 visitors did at once.
_CLEARLY = 2.5
# In levels of 255. Below is rounding; above it is no noise but a picture that moves as a whole.
_LEAST_NOISE = 0.5
_MOST_NOISE = 4.0
_NOISES = 64  # frames, of which the middle one counts
_FEWEST_NOISES = 4  # until then every frame is read whole
_MOST_CELLS = 0.5  # of a frame: if more have changed, all are read


class ChangeGate(Protocol):
    """What stands between a camera's frames and its memory."""

    def admit(self, frames: Tensor, times_s: Sequence[float]) -> Tensor:
        """Which tokens of a step of frames are to be read. uint8 RGB [F, S, S, 3], F -> bool [F, P], on the CPU"""
        ...

    def invalidate(self) -> None:
        """What was admitted last has not been read after all: the next frame is read whole."""
        ...


class OpenGate:
    """Lets everything pass."""

    def __init__(self, tokens_per_frame: int) -> None:
        self._tokens_per_frame = tokens_per_frame

    def admit(self, frames: Tensor, times_s: Sequence[float]) -> Tensor:
        return torch.ones(len(frames), self._tokens_per_frame, dtype=torch.bool)

    def invalidate(self) -> None:
        """Nothing was remembered."""


class StaticGate:
    """Lets the cells pass that changed since they last passed; in a still picture nothing does.

    Compared is with what was read last, never with the frame before, so that a slow change adds up until it shows;
    and beyond a common gain, so that drifting light and lamps are no change. A step in which some cells passed ends
    with a whole frame: the newest frame of a memory is always whole, and "now" is read from it. So is a frame
    `key_frame_every_s` after the last whole one.
    """

    def __init__(self, tokens_per_frame: int, *, key_frame_every_s: float) -> None:
        self._cells_per_side = math.isqrt(tokens_per_frame)
        assert self._cells_per_side**2 == tokens_per_frame, tokens_per_frame
        self._key_frame_every_s = key_frame_every_s
        self._noises: deque[float] = deque(maxlen=_NOISES)
        self._newest: Tensor | None = None  # blocks of the newest frame
        self._read: Tensor | None = None  # blocks as each cell was last read, in today's light
        self._whole_s = -math.inf

    def admit(self, frames: Tensor, times_s: Sequence[float]) -> Tensor:
        blocks = change.block_means(frames, self._cells_per_side)
        passed: list[Tensor] = []
        has_part = False
        for index, time_s in enumerate(times_s):
            is_new = self._new_cells(blocks[index], time_s)
            share, is_last = float(is_new.float().mean()), index == len(times_s) - 1
            if share > _MOST_CELLS or (is_last and (has_part or share)):
                is_new = torch.ones_like(is_new)
            has_part = (has_part or bool(is_new.any())) and not bool(is_new.all())
            self._note(blocks[index], is_new, time_s)
            passed.append(is_new)
        return torch.stack(passed).cpu()

    def invalidate(self) -> None:
        self._read = None

    def _new_cells(self, blocks: Tensor, time_s: float) -> Tensor:
        """Which cells have changed since they were read, all if that cannot be told or a whole frame is due. -> [P]"""
        if self._newest is not None:
            self._noises.append(float(change.cell_changes(blocks, self._newest).median()))
        is_due = time_s - self._whole_s >= self._key_frame_every_s
        if self._read is None or is_due or len(self._noises) < _FEWEST_NOISES:
            return torch.ones(self._cells_per_side**2, dtype=torch.bool, device=blocks.device)
        noise = min(max(statistics.median(self._noises), _LEAST_NOISE), _MOST_NOISE)
        return change.cell_changes(blocks, self._read) > _CLEARLY * noise

    def _note(self, blocks: Tensor, is_new: Tensor, time_s: float) -> None:
        self._newest = blocks
        if bool(is_new.all()):
            self._read, self._whole_s = blocks, time_s
        elif self._read is not None and bool(is_new.any()):
            self._read = change.renewed(self._read, blocks, is_new)
