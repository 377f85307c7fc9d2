"""From outcomes to rows: accuracies with 95 % intervals, by need and by how long ago the fact was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import exam, parts, streams

DELAYS_S = (4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0)  # upper ends
ALL = "all"

_DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    """delay_s: the row is of facts that were last seen at most so long ago, and longer than the delay before it."""

    policy: str
    budget: int
    length: int
    need: str
    delay_s: float | None
    accuracy: float
    low: float
    high: float
    n: int
    bytes_per_camera: int
    upkeep_share: float
    ttft_ms: float
    evidence_precision: float | None
    commit: str


def rows_of(part: parts.Part) -> Iterator[Row]:
    """A row for all questions, one for each need, and one for each delay that occurred."""
    yield from _row(part, ALL, None, part.outcomes)
    for need in streams.Need:
        yield from _row(part, need, None, [[o for o in of_stream if o.need == need] for of_stream in part.outcomes])
    for low_s, high_s in zip((-1.0, *DELAYS_S), DELAYS_S, strict=False):
        meant = [[o for o in of_stream if _is_between(o, low_s, high_s)] for of_stream in part.outcomes]
        yield from _row(part, ALL, high_s, meant)


def interval(by_stream: Sequence[Sequence[bool]], seed: int = 0) -> tuple[float, float]:
    """95 % of the accuracies that other streams of the same kind would have given: a bootstrap over whole streams.

    Questions about one stream stand or fall together, so drawing single questions would flatter every policy.
    """
    right = np.array([sum(answers) for answers in by_stream], dtype=float)
    asked = np.array([len(answers) for answers in by_stream], dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(right), (_DRAWS, len(right)))
    totals = asked[drawn].sum(axis=1)
    accuracies = right[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(accuracies, (0.025, 0.975))
    return float(low), float(high)


def _row(part: parts.Part, need: str, delay_s: float | None, meant: list[list[exam.Outcome]]) -> Iterator[Row]:
    right = [[outcome.is_right for outcome in of_stream] for of_stream in meant if of_stream]
    if not right:
        return
    low, high = interval(right)
    answers = [answer for of_stream in right for answer in of_stream]
    cited = sum(outcome.cited for of_stream in meant for outcome in of_stream)
    shown = sum(outcome.shown for of_stream in meant for outcome in of_stream)
    yield Row(
        policy=part.settings.policy,
        budget=part.settings.budget,
        length=part.settings.length,
        need=need,
        delay_s=delay_s,
        accuracy=round(sum(answers) / len(answers), 4),
        low=round(low, 4),
        high=round(high, 4),
        n=len(answers),
        bytes_per_camera=part.nbytes_per_camera,
        upkeep_share=part.upkeep_share,
        ttft_ms=part.ttft_ms,
        evidence_precision=round(shown / cited, 4) if cited else None,
        commit=part.settings.commit,
    )


def _is_between(outcome: exam.Outcome, low_s: float, high_s: float) -> bool:
    return outcome.delay_s is not None and low_s < outcome.delay_s <= high_s
