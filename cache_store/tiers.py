"""What a memory may hold, and what each layer does with it: roles by depth, decided once at start-up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Role(StrEnum):
    """What a layer remembers by its depth (HERMES, section 3.1)."""

    SENSORY = "sensory"
    WORKING = "working"
    LONG_TERM = "long_term"


class Reindexing(StrEnum):
    """When positions close up: only when they run out, or at every compaction (HERMES, section 3.4)."""

    LAZY = "lazy"
    EAGER = "eager"


class PolicyName(StrEnum):
    """How a compaction decides; each is a row of `policies.POLICIES`."""

    QUESTIONS = "questions"
    HERMES = "hermes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig:
    """The bounds of one camera's memory. The defaults suit the tiny model; real ones take 4,000 to 6,000 tokens."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    tokens_per_layer: int = 256  # everything a layer keeps after compaction, but for the prefix
    recent_frames: int = 4  # the newest frames, kept whole in every layer
    sensory_share: float = 0.1  # of the layers, counted from the input
    long_term_share: float = 0.3  # of the layers, counted from the output
    policy: PolicyName = PolicyName.QUESTIONS
    reindexing: Reindexing = Reindexing.LAZY

    def __post_init__(self) -> None:
        if self.tokens_per_layer < 2:
            raise ValueError(f"memory.tokens_per_layer is {self.tokens_per_layer} (at least 2)")
        if self.recent_frames < 0:
            raise ValueError(f"memory.recent_frames is {self.recent_frames} (at least 0)")
        if self.policy not in set(PolicyName):
            raise ValueError(f"memory.policy is {self.policy!r} (one of {', '.join(PolicyName)})")
        for name in ("sensory_share", "long_term_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"memory.{name} is {getattr(self, name)} (0 to 1)")
        if self.sensory_share + self.long_term_share > 1:
            raise ValueError(
                f"memory.sensory_share {self.sensory_share} + memory.long_term_share {self.long_term_share} exceed 1"
            )


@dataclass(frozen=True, slots=True)
class Recency:
    """Share and decay of recency in the middle layers: `start - fall · depth`, the depth running from 0 to 1."""

    share_start: float
    share_fall: float
    decay_start: float
    decay_fall: float


# The paper gives the share alone; the decay is that of its Qwen code. Its LLaVA code differs from the paper in both.
PAPER = Recency(share_start=0.75, share_fall=0.6, decay_start=20.0, decay_fall=12.0)
LLAVA_CODE = Recency(share_start=1.0, share_fall=0.9, decay_start=20.0, decay_fall=19.5)


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """What one layer does at a compaction."""

    role: Role
    recency_share: float
    recency_decay: float
    smoothing_share: float  # λ: how much of the deeper layer's score it takes over
    folds_evicted: bool  # into one summary token


# λ and folding by role: HERMES, sections 3.3 and 3.2.
_SMOOTHING = {Role.SENSORY: 0.1, Role.WORKING: 0.3, Role.LONG_TERM: 0.4}


def layer_roles(num_layers: int, config: MemoryConfig) -> tuple[Role, ...]:
    """The role of each layer, from the input: at least one is sensory and, of two or more, one long-term."""
    sensory = max(1, int(config.sensory_share * num_layers))
    long_term_from = min(int((1 - config.long_term_share) * num_layers), num_layers - 1)
    return tuple(
        Role.SENSORY if layer < sensory else Role.LONG_TERM if layer >= long_term_from else Role.WORKING
        for layer in range(num_layers)
    )


def plan_layers(num_layers: int, config: MemoryConfig, recency: Recency = PAPER) -> tuple[LayerPlan, ...]:
    """What each layer of a decoder does at a compaction (HERMES, sections 3.1 to 3.3)."""
    roles = layer_roles(num_layers, config)
    middle = max(1, sum(role is Role.WORKING for role in roles))
    first_middle = sum(role is Role.SENSORY for role in roles)
    return tuple(_plan(role, (layer - first_middle) / middle, recency) for layer, role in enumerate(roles))


def _plan(role: Role, depth: float, recency: Recency) -> LayerPlan:
    share, decay = {
        Role.SENSORY: (1.0, recency.decay_start),
        Role.WORKING: (
            recency.share_start - recency.share_fall * depth,
            recency.decay_start - recency.decay_fall * depth,
        ),
        Role.LONG_TERM: (0.0, 0.0),
    }[role]
    return LayerPlan(
        role=role,
        recency_share=share,
        recency_decay=decay,
        smoothing_share=_SMOOTHING[role],
        folds_evicted=role is Role.LONG_TERM,
    )
