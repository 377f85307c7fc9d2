"""The curriculum: the stages of the training, the learning rate, and the batches of each stage."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from models.tiny.training import forgetting
from models.tiny.training.batches import Batch, Packer, lay_out
from models.tiny.training.clips import make_clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The clips of one part of the training."""

    name: str
    share: float  # of the training time
    clips: int  # a batch
    frames: tuple[int, int]
    interval_s: float  # between frames, at most; at least 0.45
    questions: int  # a clip
    pruned_share: float = 0.0  # of the batches: only a part of the old tokens is in the sequence
    pruned_clips: int = 0
    pruned_frames: tuple[int, int] = (32, 64)
    before_weight: float = 1.0  # "did the … come before the …" is learnt last, unless it is frequent
    gaps_share: float = 0.0  # of the whole clips: positions jump, up to MAX_POSITION
    quiet_share: float = 0.0  # of the clips of pruned batches: quiet streams


STAGES = (
    Stage(name="vision", share=0.015, clips=40, frames=(4, 4), interval_s=1.3, questions=0),
    Stage(name="4 frames", share=0.085, clips=32, frames=(4, 4), interval_s=1.3, questions=12),
    Stage(name="8 frames", share=0.14, clips=20, frames=(8, 8), interval_s=1.1, questions=16),
    Stage(name="order", share=0.07, clips=20, frames=(6, 8), interval_s=1.1, questions=14, before_weight=10.0),
    Stage(
        name="10-16 frames", share=0.17, clips=12, frames=(10, 16), interval_s=0.9, questions=22,
        before_weight=2.0, gaps_share=0.2, pruned_share=0.15, pruned_clips=10, pruned_frames=(16, 24),
    ),
    Stage(
        name="16-40 frames", share=0.24, clips=6, frames=(16, 40), interval_s=0.6, questions=32,
        before_weight=1.5, gaps_share=0.3, pruned_share=0.3, pruned_clips=5, pruned_frames=(24, 64), quiet_share=0.4,
    ),
    Stage(
        name="20-160 frames", share=0.28, clips=4, frames=(20, 64), interval_s=0.55, questions=40,
        gaps_share=0.4, pruned_share=0.5, pruned_clips=3, pruned_frames=(48, 160), quiet_share=0.6,
    ),
)  # fmt: skip
PEAK_RATE = 2e-3
WARM_UP_STEPS = 60
DECAY_SHARE = 0.35


class Schedule:
    """Stage and learning rate by the share of the time that has elapsed, so that training ends on time.

    elapsed_share: of an earlier run that this one continues.
    """

    def __init__(
        self, minutes: float, *, elapsed_share: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
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
        """Index into STAGES."""
        ends = 0.0
        for index, stage in enumerate(STAGES):
            ends += stage.share
            if self.elapsed_share < ends:
                return index
        return len(STAGES) - 1

    def rate(self, step: int) -> float:
        """Learning rate: a warm-up by steps, then a linear decay at the end of the time."""
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return PEAK_RATE * warm * min(1.0, max(0.0, (1 - self.elapsed_share) / DECAY_SHARE))


def make_batch(rng: random.Random, stage: Stage, packer: Packer) -> Batch:
    """A batch of new clips of a stage."""
    is_pruned = rng.random() < stage.pruned_share
    frames = rng.randint(*(stage.pruned_frames if is_pruned else stage.frames))
    longest = (stage.pruned_frames if is_pruned else stage.frames)[1]
    budget = stage.pruned_clips if is_pruned else stage.clips
    count = max(1, min(2 * budget, round(budget * longest / frames)))
    clips = [
        make_clip(
            rng,
            frames=frames,
            interval_s=stage.interval_s,
            questions=stage.questions,
            moments=3 if is_pruned else 12,
            before_weight=stage.before_weight,
            is_quiet=is_pruned and rng.random() < stage.quiet_share,
        )
        for _ in range(count)
    ]
    layouts = [
        lay_out(
            rng,
            frames,
            [moment for moment, _ in clip.questions],
            prefix=len(packer.prefix),
            lasting=forgetting.random_kind(rng, clip.pixels) if is_pruned else None,
            stream_frames=clip.stream_frames,
            has_gaps=rng.random() < stage.gaps_share,
        )
        for clip in clips
    ]
    return packer.pack(clips, layouts)
