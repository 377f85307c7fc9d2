"""The contenders of benchmarks.accuracy: every policy by its name, at any budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import baselines, scorers
from benchmarks.retrieval import RetrievedFrames
from benchmarks.scorers import MakeScorer
from benchmarks.stream_memories import ANSWER_TOKENS, BoundedMemory, RereadFrames, StreamMemory, Task
from cache_store import policies, summaries
from cache_store.policies import Decision, Policy, Summarize
from cache_store.row_format import RowFormat
from cache_store.tiers import MemoryConfig
from models.vision_language_model import VideoLanguageModel

OURS = "questions"
GATED = "ours-gated"


class UnknownPolicy(ValueError):
    """No contender of that name."""


@dataclass(frozen=True, slots=True)
class Contender:
    """idea: a few words for --help; max_frames: of the longest stream that it can take with a model, None for any."""

    idea: str
    make: Callable[[Task], StreamMemory]
    max_frames: Callable[[VideoLanguageModel], int] | None = None
    is_ablation: bool = False


def recent_frames(budget: int) -> int:
    """The recent window at a budget: four frames where that is at most a quarter of the budget, at least one."""
    return max(1, min(4, budget // 64))


def named(name: str) -> Contender:
    """The contender of that name. Raises UnknownPolicy."""
    if name not in CONTENDERS:
        raise UnknownPolicy(f"policy {name!r} (one of {', '.join(CONTENDERS)})")
    return CONTENDERS[name]


def in_int8(name: str) -> str:
    """The name of the contender that differs in the rows of its slots alone."""
    return f"{name}-int8"


def _bounded(
    decide: Decision,
    make_scorer: MakeScorer = scorers.no_scores,
    *,
    summarize: Summarize = summaries.weighted_summary,
    has_window: bool = True,
    is_eager: bool = False,
    rows: RowFormat = RowFormat.EXACT,
) -> Callable[[Task], StreamMemory]:
    def make(task: Task) -> StreamMemory:
        config = MemoryConfig(tokens_per_layer=task.budget, recent_frames=recent_frames(task.budget))
        policy = Policy(decide, summarize, keeps_window=has_window)
        return BoundedMemory(task, config, policy, make_scorer(task.model), is_eager=is_eager, rows=rows)

    return make


def _hermes(
    decide: Decision,
    make_scorer: MakeScorer = scorers.roles,
    *,
    summarize: Summarize = summaries.weighted_summary,
    rows: RowFormat = RowFormat.EXACT,
) -> Callable[[Task], StreamMemory]:
    return _bounded(decide, make_scorer, summarize=summarize, has_window=False, rows=rows)


def _gated(*, waits_for_room: bool = False) -> Callable[[Task], StreamMemory]:
    def make(task: Task) -> StreamMemory:
        config = MemoryConfig(tokens_per_layer=task.budget, recent_frames=recent_frames(task.budget))
        scorer = scorers.questions(task.model)
        return BoundedMemory(task, config, Policy(_by_peak), scorer, is_gated=True, waits_for_room=waits_for_room)

    return make


def _full(task: Task) -> StreamMemory:
    config = MemoryConfig(tokens_per_layer=task.model.spec.layout.max_tokens(task.num_frames))
    return BoundedMemory(task, config, Policy(_by_peak), scorers.no_scores(task.model))


def _frames_with_positions(model: VideoLanguageModel) -> int:
    """How many frames, each whole, have a position that leaves room for a question."""
    layout = model.spec.layout
    groups = (model.spec.max_positions - ANSWER_TOKENS) // layout.max_tokens(layout.frames_per_group)
    return groups * layout.frames_per_group


_by_peak = policies.by_peak_attention
_sliding_window = baselines.by_score(baselines.sinks_and_newest)

CONTENDERS: dict[str, Contender] = {
    "full": Contender("full cache, unbounded: the upper bound", _full, max_frames=_frames_with_positions),
    "window": Contender("sliding window with sinks", _bounded(_sliding_window, has_window=False)),
    "last-n": Contender(
        "the newest frames alone, prefilled anew",
        lambda task: RereadFrames(task, is_uniform=False),
    ),
    "uniform": Contender(
        "frames spread over all time, prefilled anew",
        lambda task: RereadFrames(task, is_uniform=True),
    ),
    "random": Contender("random tokens", _bounded(baselines.by_score(baselines.scattered))),
    "infinipot": Contender("InfiniPot-V: novelty and value norm", _bounded(baselines.infinipot)),
    "streammem": Contender("StreamMem: proxy query and prototypes", _bounded(baselines.streammem, scorers.proxy_query)),
    "rekv": Contender(
        "ReKV: everything stored, frames retrieved",
        lambda task: RetrievedFrames(task, Policy(_sliding_window)),
        max_frames=lambda _: 5_000,
    ),
    "hermes-published": Contender(
        "HERMES as published",
        _bounded(
            baselines.hermes_published,
            scorers.unpropagated_roles,
            summarize=baselines.published_summary,
            has_window=False,
        ),
    ),
    "hermes": Contender("HERMES as the product has it", _hermes(policies.hermes)),
    "hermes-bare": Contender(
        "hermes, its prompts not as questions", _hermes(policies.hermes, scorers.bare_roles), is_ablation=True
    ),
    "hermes-mean": Contender(
        "hermes, the mean over its prompts", _hermes(policies.hermes, scorers.mean_of_roles), is_ablation=True
    ),
    "hermes-unpropagated": Contender(
        "hermes, scored as published", _hermes(policies.hermes, scorers.unpropagated_roles), is_ablation=True
    ),
    "hermes-by-place": Contender("hermes, smoothed by place", _hermes(baselines.hermes_by_index), is_ablation=True),
    "hermes-unsmoothed": Contender("hermes, not smoothed", _hermes(baselines.hermes_unsmoothed), is_ablation=True),
    "hermes-window": Contender(
        "hermes, with a recent window", _bounded(policies.hermes, scorers.roles), is_ablation=True
    ),
    "hermes-plain-summaries": Contender(
        "hermes, with summaries as published",
        _hermes(baselines.hermes_with_summaries, summarize=baselines.published_summary),
        is_ablation=True,
    ),
    "hermes-weighted-summaries": Contender(
        "hermes, with summaries weighted by their counts", _hermes(baselines.hermes_with_summaries), is_ablation=True
    ),
    in_int8("hermes"): Contender(
        "hermes, in slots of int8 rows", _hermes(policies.hermes, rows=RowFormat.INT8), is_ablation=True
    ),
    OURS: Contender("ours: the peak attention of a bank of questions", _bounded(_by_peak, scorers.questions)),
    GATED: Contender("ours, of what changes in the image", _gated(), is_ablation=True),
    "ours-gated-between": Contender(
        "gated, asked between compactions, which wait for a full slot",
        _gated(waits_for_room=True),
        is_ablation=True,
    ),
    in_int8(OURS): Contender(
        "ours, in slots of int8 rows", _bounded(_by_peak, scorers.questions, rows=RowFormat.INT8), is_ablation=True
    ),
    "ours-roles": Contender(
        "HERMES' prompts for the bank", _bounded(_by_peak, scorers.mean_of_bare_roles), is_ablation=True
    ),
    "ours-mean": Contender(
        "mean over the bank, not the peak", _bounded(_by_peak, scorers.mean_of_questions), is_ablation=True
    ),
    "ours-no-window": Contender(
        "no recent window", _bounded(_by_peak, scorers.questions, has_window=False), is_ablation=True
    ),
    "ours-ranks": Contender(
        "positions renumbered without gaps after every compaction",
        _bounded(_by_peak, scorers.questions, is_eager=True),
        is_ablation=True,
    ),
    "ours-recency": Contender(
        "with recency in seconds",
        _bounded(baselines.by_score(baselines.with_recency), scorers.questions),
        is_ablation=True,
    ),
    "ours-novelty": Contender(
        "attention times novelty",
        _bounded(baselines.by_score(baselines.times_novelty), scorers.questions),
        is_ablation=True,
    ),
    "ours-half-novelty": Contender(
        "half by attention, half by novelty", _bounded(baselines.half_by_novelty, scorers.questions), is_ablation=True
    ),
    "ours-coverage": Contender(
        "a third by time buckets", _bounded(baselines.with_coverage, scorers.questions), is_ablation=True
    ),
    "ours-cap": Contender("a cap on each frame", _bounded(baselines.with_cap, scorers.questions), is_ablation=True),
    "ours-summaries": Contender(
        "the evicted folded by age", _bounded(baselines.with_summaries, scorers.questions), is_ablation=True
    ),
}
POLICIES = tuple(name for name, contender in CONTENDERS.items() if not contender.is_ablation)
ABLATIONS = (OURS, *(name for name, contender in CONTENDERS.items() if contender.is_ablation))
