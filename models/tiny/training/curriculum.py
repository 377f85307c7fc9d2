"""The schedule of the training, its learning rate, and the batches of each stage."""

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.tiny.training import forgetting
from models.tiny.training.batches import Batch, Packer
from models.tiny.training.clips import Clip, ClipOptions, make_clip
from models.tiny.training.layouts import Layout, lay_out
from models.tiny.training.stages import Stage

PEAK_RATE = 2e-3
WARM_UP_STEPS = 60
DECAY_SHARE = 0.35


class Schedule:
    """Stage and learning rate by the share of the time that has elapsed, so that training ends on time.

    elapsed_share: of an earlier run that this one continues. clock: of the time in the room, or of the processor.
    """

    def __init__(
        self,
        minutes: float,
        stages: Sequence[Stage],
        *,
        elapsed_share: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = stages
        self._clock = clock
        self._length_s = minutes * 60
        self._started = clock() - elapsed_share * self._length_s

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._started

    @property
    def elapsed_share(self) -> float:
        """Share of the training time that has elapsed; 1 or more at the end."""
        return self.elapsed_s / self._length_s

    def stage(self) -> int:
        """Index into the stages."""
        ends = 0.0
        for index, stage in enumerate(self._stages):
            ends += stage.share
            if self.elapsed_share < ends:
                return index
        return len(self._stages) - 1

    def rate(self, step: int) -> float:
        """Learning rate: a warm-up by steps, then a linear decay at the end of the time."""
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return PEAK_RATE * warm * min(1.0, max(0.0, (1 - self.elapsed_share) / DECAY_SHARE))


def make_batch(rng: random.Random, stage: Stage, packer: Packer) -> Batch:
    """A batch of new clips of a stage."""
    architecture = packer.architecture
    is_pruned = rng.random() < stage.pruned_share
    frames = rng.randint(*(stage.pruned_frames if is_pruned else stage.frames))
    longest = (stage.pruned_frames if is_pruned else stage.frames)[1]
    budget = stage.pruned_clips if is_pruned else stage.clips
    count = max(1, min(2 * budget, round(budget * longest / frames)))
    grids = architecture.grids
    grid = grids[0] if len(grids) == 1 else rng.choice(grids)
    clips = [
        make_clip(
            rng,
            ClipOptions(
                frames=frames,
                interval_s=stage.interval_s,
                questions=stage.questions,
                moments=3 if is_pruned else 12,
                before_weight=stage.before_weight,
                is_quiet=is_pruned and rng.random() < stage.quiet_share,
                grid=grid,
                frames_per_group=architecture.frames_per_group,
            ),
        )
        for _ in range(count)
    ]
    return packer.pack(clips, [_layout(rng, stage, clip, packer, is_pruned=is_pruned) for clip in clips])


def _layout(rng: random.Random, stage: Stage, clip: Clip, packer: Packer, *, is_pruned: bool) -> Layout:
    lasting = _lasting_tokens(clip, forgetting.random_kind(rng, clip.pixels)) if is_pruned else None
    return lay_out(
        rng,
        packer.architecture.context(clip),
        [moment for moment, _ in clip.questions],
        prefix=len(packer.prefix),
        frames_per_group=packer.architecture.frames_per_group,
        gaps=packer.architecture.position_gaps,
        lasting=lasting,
        has_gaps=rng.random() < stage.gaps_share,
    )


def _lasting_tokens(clip: Clip, of_frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each video token, from those of its cell in the frames of its group. [T * P] -> [G * P]"""
    per_group: NDArray[np.float64] = of_frames.reshape(len(clip.pixels), -1)[clip.groups].max(axis=1)
    return per_group.reshape(-1)
