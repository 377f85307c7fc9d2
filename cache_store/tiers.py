"""The bounds of a memory, and the role of each layer in a compaction by its depth. Both are fixed at start-up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Role(StrEnum):
    """What a layer keeps, by its depth: newest frames, both, or what prompts attend to (HERMES, section 3.1)."""

    SENSORY = "sensory"
    WORKING = "working"
    LONG_TERM = "long_term"


class PolicyName(StrEnum):
    """What decides about eviction: each is a row of `policies.POLICIES` and of `models.importance.SCORERS`.

    `auto` stands for one of the others, by the model: see `models.policy_choice`.
    """

    AUTO = "auto"
    QUESTIONS = "questions"
    HERMES = "hermes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig:
    """The bounds of one camera's memory. The defaults suit the tiny model; real models need 4,000 to 6,000 tokens.

    tokens_per_layer: the budget: tokens that a layer keeps after a compaction, without the prefix.
    recent_frames: the recent window: so many of the newest frames are never evicted in any layer; hermes has none, its
        first layers keep the newest tokens.
    sensory_share: share of the layers, counted from the input, that keep the newest tokens.
    long_term_share: share of the layers, counted from the output, that keep what questions attend to.
    policy: what decides about eviction; auto: the policy that docs/models.md names for the model, with its evidence.
    reindexing: has one value, `lazy`: positions are renumbered when they run out.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "tokens_per_layer": (2, 10_000_000),
        "recent_frames": (0, 1_000_000),
        "sensory_share": (0, 1),
        "long_term_share": (0, 1),
    }

    tokens_per_layer: int = 256
    recent_frames: int = 4
    sensory_share: float = 0.1
    long_term_share: float = 0.3
    policy: PolicyName = PolicyName.AUTO
    reindexing: str = "lazy"

    def __post_init__(self) -> None:
        for name, (low, high) in self.RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"memory.{name} is {value} ({low:,} to {high:,})")
        if self.policy not in set(PolicyName):
            raise ValueError(f"memory.policy is {self.policy!r} (one of {', '.join(PolicyName)})")
        if self.reindexing != "lazy":
            raise ValueError(f"memory.reindexing is {self.reindexing!r} (only 'lazy'; write that or leave the key out)")
        if self.sensory_share + self.long_term_share > 1:
            raise ValueError(
                f"memory.sensory_share {self.sensory_share} + memory.long_term_share {self.long_term_share} exceed 1"
            )


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """What one layer does in a compaction; only `hermes` reads more than the role."""

    role: Role
    recency_share: float
    recency_decay: float
    smoothing_share: float  # λ: the deeper layer's share of a score


# λ by role: HERMES, section 3.3.
_SMOOTHING = {Role.SENSORY: 0.1, Role.WORKING: 0.3, Role.LONG_TERM: 0.4}

# Share and decay of recency in the working layers fall with depth, which runs from 0 to 1 over them. The paper gives
# the share alone; the decay is that of its Qwen code. Its LLaVA code has a share of 1.0 - 0.9 · depth and a decay of
# 20 - 19.5 · depth, unlike the paper.
_SHARE_START, _SHARE_FALL = 0.75, 0.6
_DECAY_START, _DECAY_FALL = 20.0, 12.0


def layer_roles(num_layers: int, config: MemoryConfig) -> tuple[Role, ...]:
    """The role of each layer, from the input: at least one is sensory and, of two or more, one long-term. -> L"""
    sensory = max(1, int(config.sensory_share * num_layers))
    long_term_from = min(int((1 - config.long_term_share) * num_layers), num_layers - 1)
    return tuple(
        Role.SENSORY if layer < sensory else Role.LONG_TERM if layer >= long_term_from else Role.WORKING
        for layer in range(num_layers)
    )


def plan_layers(num_layers: int, config: MemoryConfig) -> tuple[LayerPlan, ...]:
    """What each layer of a decoder does in a compaction (HERMES, sections 3.1 to 3.3). -> L"""
    roles = layer_roles(num_layers, config)
    num_working = max(1, sum(role is Role.WORKING for role in roles))
    first_working = sum(role is Role.SENSORY for role in roles)
    return tuple(_plan(role, (layer - first_working) / num_working) for layer, role in enumerate(roles))


def _plan(role: Role, depth: float) -> LayerPlan:
    recency_share, recency_decay = {
        Role.SENSORY: (1.0, _DECAY_START),
        Role.WORKING: (_SHARE_START - _SHARE_FALL * depth, _DECAY_START - _DECAY_FALL * depth),
        Role.LONG_TERM: (0.0, 0.0),
    }[role]
    return LayerPlan(
        role=role,
        recency_share=recency_share,
        recency_decay=recency_decay,
        smoothing_share=_SMOOTHING[role],
    )
