"""What a shard counts of its work since its process started, and reports in its status."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

QUESTION_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class HistogramCounts:
    """How many values lay at or below each bound, and above all of them last; and the sum of all values."""

    bounds: tuple[float, ...] = QUESTION_BOUNDS_S
    counts: tuple[int, ...] = (0,) * (len(QUESTION_BOUNDS_S) + 1)
    total: float = 0.0


class Histogram:
    """Counts values between bounds. Not thread-safe."""

    def __init__(self, bounds: Sequence[float] = QUESTION_BOUNDS_S) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Counts one value in the first bucket whose bound is not below it."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._total += value

    def counts(self) -> HistogramCounts:
        """An immutable copy."""
        return HistogramCounts(self._bounds, tuple(self._counts), self._total)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCounts:
    """Frames and what became of them.

    dropped: by the state that their camera was in. gaps, gap_s: gaps that have ended and their seconds, by reason.
    tokens_read, tokens_skipped: read, and left out by the gate, in one layer. ingest_s, upkeep_s: device time for
    frames, and how much of it for scoring and compaction.
    """

    read: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    gaps: Mapping[str, int] = field(default_factory=dict)
    gap_s: Mapping[str, float] = field(default_factory=dict)
    tokens_read: int = 0
    tokens_skipped: int = 0
    compactions: int = 0
    ingest_s: float = 0.0
    upkeep_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionCounts:
    """Questions that wait and run now. wait_s: from arrival to prefill; prefill_s: from there to the first token."""

    waiting: int = 0
    running: int = 0
    wait_s: HistogramCounts = field(default_factory=HistogramCounts)
    prefill_s: HistogramCounts = field(default_factory=HistogramCounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCounts:
    """All of it since the process started. checkpoints, restores: by result. cameras_lost: to other shards."""

    frames: FrameCounts = field(default_factory=FrameCounts)
    questions: QuestionCounts = field(default_factory=QuestionCounts)
    checkpoints: Mapping[str, int] = field(default_factory=dict)
    restores: Mapping[str, int] = field(default_factory=dict)
    cameras_lost: int = 0
