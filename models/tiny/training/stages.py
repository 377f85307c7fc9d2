"""The stages of the training of each architecture, as shares of its time."""

from dataclasses import dataclass


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


LLAVA_ONEVISION_STAGES = (
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

# Two frames share their tokens, so clips have more of them; the last stage has whole streams of up to 128 frames.
QWEN3_VL_STAGES = (
    Stage(name="vision", share=0.02, clips=24, frames=(8, 8), interval_s=0.8, questions=0),
    Stage(name="6 frames", share=0.09, clips=32, frames=(6, 6), interval_s=1.1, questions=12),
    Stage(name="10 frames", share=0.13, clips=20, frames=(10, 10), interval_s=1.0, questions=16),
    Stage(name="order", share=0.07, clips=20, frames=(8, 10), interval_s=1.0, questions=14, before_weight=10.0),
    Stage(
        name="12-20 frames", share=0.16, clips=12, frames=(12, 20), interval_s=0.8, questions=22,
        before_weight=2.0, gaps_share=0.2, pruned_share=0.15, pruned_clips=10, pruned_frames=(16, 32),
    ),
    Stage(
        name="20-48 frames", share=0.23, clips=6, frames=(20, 48), interval_s=0.6, questions=32,
        before_weight=1.5, gaps_share=0.3, pruned_share=0.35, pruned_clips=5, pruned_frames=(32, 80), quiet_share=0.4,
    ),
    Stage(
        name="24-192 frames", share=0.30, clips=4, frames=(24, 128), interval_s=0.55, questions=40,
        gaps_share=0.4, pruned_share=0.5, pruned_clips=3, pruned_frames=(48, 192), quiet_share=0.6,
    ),
)  # fmt: skip
