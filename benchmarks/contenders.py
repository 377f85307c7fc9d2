"""Who is measured: every policy by its name, at any budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmarks import baselines
from benchmarks.baselines import Decision, Unpropagated
from benchmarks.readers import Reader, Rereading, Retrieving, Streaming
from cache_store import policies, tiers
from cache_store.policies import CORRECTED, PUBLISHED, Guide, Policy, SummaryRule
from cache_store.tiers import MemoryConfig, Reindexing
from models import importance
from models.importance import ImportanceScorer
from models.llava_onevision import LlavaOnevision

OURS = "questions"
GATED = "ours-gated"
Guiding = Callable[[LlavaOnevision], ImportanceScorer]


class UnknownPolicy(ValueError):
    """No contender of that name."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender is asked to do: so many streams at once, so many tokens a layer, so many frames.

    passed: what a static gate lets pass of each stream, for whoever has one. B × [F, P]
    """

    model: LlavaOnevision
    batch: int
    budget: int
    num_frames: int
    passed: Sequence[Tensor] = ()


@dataclass(frozen=True, slots=True)
class Contender:
    """idea: whose it is, in a few words; most_frames: what it can take at all, None for anything."""

    idea: str
    make: Callable[[Task], Reader]
    most_frames: int | None = None
    is_ablation: bool = False


def recent_frames(budget: int) -> int:
    """How many of the newest frames stay whole: four where that is a quarter of the budget, at least one."""
    return max(1, min(4, budget // 64))


def named(name: str) -> Contender:
    """The contender of that name, or UnknownPolicy."""
    if name not in CONTENDERS:
        raise UnknownPolicy(f"policy {name!r} (one of {', '.join(CONTENDERS)})")
    return CONTENDERS[name]


def _streaming(
    decide: Decision,
    guide: Guide = Guide.NONE,
    *,
    guiding: Guiding | None = None,
    summary: SummaryRule = CORRECTED,
    has_window: bool = True,
    reindexing: Reindexing = Reindexing.LAZY,
) -> Callable[[Task], Reader]:
    def make(task: Task) -> Reader:
        config = MemoryConfig(
            tokens_per_layer=task.budget,
            recent_frames=recent_frames(task.budget) if has_window else 0,
            reindexing=reindexing,
        )
        policy = Policy(decide, guide, summary)
        return Streaming(task.model, config, task.batch, policy, guiding(task.model) if guiding else None)

    return make


def _gated(task: Task) -> Reader:
    config = MemoryConfig(tokens_per_layer=task.budget, recent_frames=recent_frames(task.budget))
    policy = Policy(policies.by_peak_attention, Guide.QUESTIONS)
    return Streaming(task.model, config, task.batch, policy, passed=task.passed)


def _full(task: Task) -> Reader:
    config = MemoryConfig(tokens_per_layer=task.num_frames * task.model.spec.tokens_per_frame)
    return Streaming(task.model, config, task.batch, _NOTHING)


def _unpropagated(model: LlavaOnevision) -> ImportanceScorer:
    texts = importance.role_prompts(model)
    roles = tiers.layer_roles(model.spec.kv.num_layers, MemoryConfig())
    return Unpropagated(model, [texts[role] for role in roles])


_ROLES, _BANK, _NONE = Guide.ROLES, Guide.QUESTIONS, Guide.NONE
_NOTHING = Policy(policies.by_peak_attention, _NONE)
_WINDOW = Policy(baselines.by_score(baselines.sinks_and_newest), _NONE)
_best = policies.by_peak_attention

CONTENDERS: dict[str, Contender] = {
    "full": Contender("full cache, unbounded: the upper bound", _full, most_frames=240),
    "window": Contender(
        "sliding window with sinks", _streaming(baselines.by_score(baselines.sinks_and_newest), has_window=False)
    ),
    "last-n": Contender(
        "the newest frames alone, read anew",
        lambda task: Rereading(task.model, task.budget, task.batch, is_uniform=False),
    ),
    "uniform": Contender(
        "frames spread over all time, read anew",
        lambda task: Rereading(task.model, task.budget, task.batch, is_uniform=True),
    ),
    "random": Contender("random tokens", _streaming(baselines.by_score(baselines.scattered))),
    "infinipot": Contender("InfiniPot-V: novelty and value norm", _streaming(baselines.infinipot)),
    "streammem": Contender(
        "StreamMem: proxy query and prototypes", _streaming(baselines.streammem, guiding=baselines.proxy)
    ),
    "rekv": Contender(
        "ReKV: everything stored, frames retrieved",
        lambda task: Retrieving(task.model, task.budget, task.batch, _WINDOW),
        most_frames=5_000,
    ),
    "hermes-published": Contender(
        "HERMES as published",
        _streaming(baselines.hermes_by_place, _ROLES, guiding=_unpropagated, summary=PUBLISHED, has_window=False),
    ),
    "hermes": Contender("HERMES, corrected", _streaming(policies.hermes, _ROLES)),
    "hermes-unpropagated": Contender(
        "HERMES, corrected but for its scores",
        _streaming(policies.hermes, _ROLES, guiding=_unpropagated),
        is_ablation=True,
    ),
    OURS: Contender("ours: the most that a bank of questions looks at", _streaming(_best, _BANK)),
    GATED: Contender("ours, of what changes in the picture", _gated, is_ablation=True),
    "ours-roles": Contender("HERMES' prompts for the bank", _streaming(_best, _ROLES), is_ablation=True),
    "ours-mean": Contender(
        "mean over the bank, not the peak", _streaming(_best, guiding=baselines.averaged_bank), is_ablation=True
    ),
    "ours-no-window": Contender("no recent window", _streaming(_best, _BANK, has_window=False), is_ablation=True),
    "ours-ranks": Contender(
        "positions closed up to ranks at every compaction",
        _streaming(_best, _BANK, reindexing=Reindexing.EAGER),
        is_ablation=True,
    ),
    "ours-recency": Contender(
        "with recency in seconds", _streaming(baselines.by_score(baselines.with_recency), _BANK), is_ablation=True
    ),
    "ours-novelty": Contender(
        "attention times novelty", _streaming(baselines.by_score(baselines.times_novelty), _BANK), is_ablation=True
    ),
    "ours-half-novelty": Contender(
        "half by attention, half by novelty", _streaming(baselines.half_by_novelty, _BANK), is_ablation=True
    ),
    "ours-coverage": Contender("a third by time buckets", _streaming(baselines.with_coverage, _BANK), is_ablation=True),
    "ours-cap": Contender("a cap on each frame", _streaming(baselines.with_cap, _BANK), is_ablation=True),
    "ours-summaries": Contender(
        "the evicted folded by age", _streaming(baselines.with_summaries, _BANK), is_ablation=True
    ),
}
POLICIES = tuple(name for name, contender in CONTENDERS.items() if not contender.is_ablation)
ABLATIONS = (OURS, *(name for name, contender in CONTENDERS.items() if contender.is_ablation))
