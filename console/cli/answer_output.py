"""Answers as lines, tables and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from console.cli.output import STATE_STYLES, clock_time, dated, gap_json, iso, printable, printable_lines, state_name
from console.client.answers import Answer, Evidence


def answer_json(answer: Answer, files: Sequence[Path | None] = ()) -> dict[str, Any]:
    """One answer for programs, with the files of its evidence if they were saved. Times are ISO 8601 in UTC."""
    return {
        "camera": answer.camera,
        "question": answer.question,
        "answer": answer.text,
        "ttft_ms": None if answer.ttft_ms is None else round(answer.ttft_ms, 1),
        "memory_as_of": iso(answer.memory_as_of),
        "epoch": answer.epoch,
        "camera_id": answer.camera_id,
        "camera_state": state_name(answer.camera_state),
        "camera_state_since": iso(answer.camera_state_since),
        "evidence": [
            _moment_json(moment, file) for moment, file in zip_longest(answer.evidence, files[: len(answer.evidence)])
        ],
        "warnings": answer.warnings,
        "gaps": [gap_json(gap) for gap in answer.gaps],
    }


def answer_notes(answer: Answer) -> str:
    """Time to the first token, age of the memory, and the times of the evidence frames, on one line."""
    notes = []
    if answer.ttft_ms is not None:
        notes.append(f"first word after {answer.ttft_ms:.0f} ms")
    if answer.memory_as_of is not None:
        notes.append(f"as of {dated(answer.memory_as_of)}")
    if answer.evidence:
        notes.append("evidence at " + _evidence_times(answer))
    return " · ".join(notes)


def answer_table(rows: Iterable[tuple[str, Answer | None, str]]) -> Table:
    """One row for each camera: its name, and its answer or the error that it gave instead."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("camera", "state", "as of", "answer", "evidence"):
        table.add_column(heading, overflow="fold")
    for camera, answer, error in rows:
        if answer is None:
            table.add_row(Text(printable(camera), style="bold"), "", "", Text(printable(error), style="red"), "")
            continue
        table.add_row(
            Text(printable(camera), style="bold"),
            Text(state_name(answer.camera_state), style=STATE_STYLES.get(answer.camera_state, "")),
            "never" if answer.memory_as_of is None else dated(answer.memory_as_of),
            Text(printable_lines(answer.text)),
            _evidence_times(answer),
        )
    return table


def _evidence_times(answer: Answer) -> str:
    """Times of day, with the date where it is another one than that of the answer."""
    return ", ".join(clock_time(moment.time, beside=answer.memory_as_of) for moment in answer.evidence)


def _moment_json(moment: Evidence, file: Path | None) -> dict[str, Any]:
    described: dict[str, Any] = {"time": iso(moment.time), "weight": round(moment.weight, 3)}
    return described if file is None else described | {"file": str(file)}
