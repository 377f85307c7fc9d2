"""From outcomes to rows: accuracies with 95 % intervals, by need and by the age of the fact, over models."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.exam import Outcome
from benchmarks.parts import MIXED, Part
from benchmarks.streams import VISITS, Need

DELAYS_S = (4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0)  # upper ends
ALL = "all"

DRAWS = 2_000  # of a bootstrap


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One accuracy of a policy at a budget, for a table. need: what the questions need; length: frames before them.

    low, high: the 95 % interval of the accuracy; by_model: the accuracy of each model.
    """

    policy: str
    budget: int
    length: int
    need: str
    accuracy: float
    low: float
    high: float
    n: int
    bytes_per_camera: int
    upkeep_share: float
    ttft_ms: float
    by_model: list[float]
    commit: str

    @property
    def heading(self) -> str:
        """What all rows of one table have in common."""
        return f"{self.length:,} frames, {self.budget} tokens a layer"

    @property
    def label(self) -> str:
        """What a line of a table is of."""
        return self.policy

    @property
    def details(self) -> dict[str, str]:
        """Further columns, the same for every row of a table."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(ScoreRow):
    """One line of the results. delay_s: facts last visible at most this long ago, and longer than the next lower delay.

    evidence_precision: the share of the cited moments that show the event; evidence_chance and evidence_newest: the
    same share of random moments and of the newest ones.
    """

    delay_s: float | None
    evidence_precision: float | None
    evidence_chance: float | None
    evidence_newest: float | None
    character: str
    visits: int

    @property
    def heading(self) -> str:
        facts = [f"{self.length:,} frames"]
        if self.visits != VISITS:
            facts.append(f"{self.visits} visits")
        if self.character != MIXED:
            facts.append(self.character)
        return ", ".join([*facts, f"{self.budget} tokens a layer"])

    @property
    def details(self) -> dict[str, str]:
        shares = {
            "evidence": self.evidence_precision,
            "by chance": self.evidence_chance,
            "newest": self.evidence_newest,
        }
        return {name: "-" if share is None else f"{share:.2f}" for name, share in shares.items()}


def rows_of(parts: Sequence[Part]) -> Iterator[Row]:
    """A row for all questions, one for each need, and one for each delay that occurred.

    parts: the same part of each model. All models have the same streams, so the bootstrap draws whole streams.
    """
    yield from _row(parts, ALL, None, lambda _: True)
    for need in Need:
        yield from _row(parts, need, None, partial(_needs, need))
    for low_s, high_s in zip((-1.0, *DELAYS_S), DELAYS_S, strict=False):
        yield from _row(parts, ALL, high_s, partial(_is_between, low_s, high_s))


def interval(by_stream: Sequence[Sequence[bool]], seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the accuracy, from a bootstrap over whole streams.

    Questions about one stream are correlated, so a bootstrap over single questions would give too narrow an interval.
    """
    right = np.array([sum(answers) for answers in by_stream], dtype=float)
    totals_by_stream = np.array([len(answers) for answers in by_stream], dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(right), (DRAWS, len(right)))
    totals = totals_by_stream[drawn].sum(axis=1)
    accuracies = right[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(accuracies, (0.025, 0.975))
    return float(low), float(high)


def loss_interval(before: Sequence[Sequence[bool]], after: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """The 95 % interval of the points lost from `before` to `after`, from a bootstrap over paired streams."""
    lost = np.array([sum(right) - sum(others) for right, others in zip(before, after, strict=True)], dtype=float)
    totals_by_stream = np.array([len(right) for right in before], dtype=float)
    drawn = np.random.default_rng(0).integers(0, len(lost), (DRAWS, len(lost)))
    low, high = np.quantile(100 * lost[drawn].sum(axis=1) / totals_by_stream[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)


def _row(
    parts: Sequence[Part], need: str, delay_s: float | None, is_included: Callable[[Outcome], bool]
) -> Iterator[Row]:
    by_model = [[[o for o in of_stream if is_included(o)] for of_stream in part.outcomes] for part in parts]
    by_stream = [[o for of_model in of_stream for o in of_model] for of_stream in zip(*by_model, strict=True)]
    outcomes = [o for of_stream in by_stream for o in of_stream]
    if not outcomes:
        return
    low, high = interval([[o.is_right for o in of_stream] for of_stream in by_stream if of_stream])
    proven = [o for o in outcomes if o.cited]
    settings = parts[0].settings
    yield Row(
        policy=settings.policy,
        budget=settings.budget,
        length=settings.length,
        need=need,
        delay_s=delay_s,
        accuracy=_share(o.is_right for o in outcomes),
        low=round(low, 4),
        high=round(high, 4),
        n=len(outcomes),
        bytes_per_camera=parts[0].nbytes_per_camera,
        upkeep_share=round(statistics.mean(part.upkeep_share for part in parts), 4),
        ttft_ms=round(statistics.mean(part.ttft_ms for part in parts), 2),
        evidence_precision=round(sum(o.shown for o in proven) / sum(o.cited for o in proven), 4) if proven else None,
        evidence_chance=_share(o.by_chance for o in proven) if proven else None,
        evidence_newest=_share(o.newest for o in proven) if proven else None,
        character=settings.character,
        visits=settings.visits,
        by_model=[_share(o.is_right for of_stream in of_model for o in of_stream) for of_model in by_model],
        commit=settings.commit,
    )


def _share(parts_of_one: Iterable[float]) -> float:
    return round(statistics.fmean(parts_of_one), 4)


def _needs(need: Need, outcome: Outcome) -> bool:
    return outcome.need == need


def _is_between(low_s: float, high_s: float, outcome: Outcome) -> bool:
    return outcome.delay_s is not None and low_s < outcome.delay_s <= high_s
