"""The figures of a device that are asked for, and the table of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Metric -> what it must be at most, or at least.
AT_MOST = {
    "ttft_over_forward": 1.05,
    "step_over_forward": 1.10,
    "ingest_over_forward": 1.04,
    "upkeep_share": 0.02,
    "tiny_ingest_over_forward": 1.5,
    "tiny_ingest_8_over_forward": 1.5,
    "tiny_step_over_forward": 1.3,
    "tiny_step_8_over_forward": 1.5,
    "ttft_100k_over_100": 1.03,
    "loaded_p99_over_idle": 3.0,
    "bytes_over_formula": 1.02,
    "bytes_100k_clips_over_10k": 1.02,
    "int8_over_bf16": 0.55,
    "int8_loss_points": 0.5,
}
AT_LEAST = {"questions_32_over_serial": 3.0, "retrieval_over_ttft": 10.0, "reread_4096_over_ttft": 50.0}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one part. ours_ms, other_ms: what it is the ratio of, where it is one of times.

    load: the machine's load average when the part ended, this process included.
    """

    part: str
    metric: str
    value: float
    ours_ms: float | None
    other_ms: float | None
    note: str
    load: float
    commit: str

    @property
    def limit(self) -> str:
        """The limit, in words."""
        if self.metric in AT_MOST:
            return f"≤ {AT_MOST[self.metric]:g}"
        return f"≥ {AT_LEAST[self.metric]:g}" if self.metric in AT_LEAST else "-"

    @property
    def holds(self) -> bool:
        """Whether the value is within its limit."""
        return AT_LEAST.get(self.metric, self.value) <= self.value <= AT_MOST.get(self.metric, self.value)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| metric | asked | measured | holds | ours | beside | load | note |", "|---|" + "---:|" * 6 + "---|"]
    for row in rows:
        times = [f"{ms:,.2f} ms" if ms is not None else "-" for ms in (row.ours_ms, row.other_ms)]
        holds = "yes" if row.holds else "**no**"
        cells = (row.metric, row.limit, f"{row.value:.3f}", holds, *times, f"{row.load:.1f}", row.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
