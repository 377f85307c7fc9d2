"""How large the parts of benchmarks.device are: for its figures, and to see that it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import real_shape
from cache_store.tiers import PolicyName
from models import registry
from models.vision_language_model import VideoLanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large the parts are. load_model: the shape that the first two rows of figures are of; policy: what its
    memories get in the product.
    """

    load_model: Callable[[], VideoLanguageModel]
    policy: PolicyName
    tokens: int
    clips: int
    rounds: int
    stream: int
    endured_clips: int
    endured_questions: int
    stored_frames: int
    reread_tokens: int
    loaded_questions: int
    exam_streams: int
    exam_frames: int


def tiny() -> VideoLanguageModel:
    return registry.load_model("tiny", "cpu")


FULL = Scale(
    load_model=real_shape.load,
    policy=real_shape.POLICY,
    tokens=4_000,
    clips=6,
    rounds=40,
    stream=100_000,
    endured_clips=100_000,
    endured_questions=10_000,
    stored_frames=2_048,
    reread_tokens=4_096,
    loaded_questions=300,
    exam_streams=24,
    exam_frames=256,
)
QUICK = Scale(
    load_model=tiny,
    policy=PolicyName.AUTO,
    tokens=256,
    clips=2,
    rounds=3,
    stream=400,
    endured_clips=160,
    endured_questions=20,
    stored_frames=64,
    reread_tokens=256,
    loaded_questions=12,
    exam_streams=1,
    exam_frames=48,
)
