"""The report of `make chaos`: what ran and what failed, as JSON and as a page beside it.

Written at the end of a run to the file that HERMES_CHAOS_REPORT names, by one process, however many workers test.
"""

from __future__ import annotations

import inspect
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, parts, result_file
from tests.chaos.history import History

SIMULATED, CLUSTER = "simulated", "on a cluster"
_PROPERTY = "chaos"
_COUNTED = ("answer", "commit", "restored", "added", "removed")  # kinds of events
_PAGE = """# Chaos

One run of `make chaos`: seeded schedules of faults, and of what clients change meanwhile, over a simulated fleet in
virtual time (`tests/chaos/world.py`), and over a real Ray cluster of several nodes with two processes of servers and a
real store (`tests/chaos/cluster_world.py`). {date}, {version}, {machine}, {minutes} minutes. Failed: {failures}.
Tests of a cluster whose head is down ran too: {other_tests}. Figures: [{json}]({json}). Repeat with

    make chaos CHAOS_REPORT=docs/chaos.json

{totals}

{faults}

{operations}

## What is checked

{checks}
- At the end every camera answers, and on a cluster through every server.

On a cluster owners are seen from outside, one after the other, so two that own a camera at one moment are seen only by
what they do. No memory is erased there, and the store keeps its data.
"""


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if (path := os.environ.get("HERMES_CHAOS_REPORT")) and not is_worker:
        config.pluginmanager.register(ChaosReport(Path(path)))


def properties(kind: str, history: History, operations: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """What a test records of its schedule (record_property). operations: which of its steps are not faults."""
    names = set(operations)
    events = Counter(event.kind for event in history.events)
    return _PROPERTY, {
        "kind": kind,
        "seed": history.seed,
        "faults": {name: count for name, count in history.steps.items() if name not in names},
        "operations": {name: count for name, count in history.steps.items() if name in names},
        "events": {name: events[name] for name in _COUNTED},
    }


class ChaosReport:
    """Gathers the schedules of a run from the reports of its tests, which workers send."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began_s = time.time()
        self._schedules: list[dict[str, Any]] = []
        self._failed: list[str] = []
        self._other_tests = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)
        schedule = dict(report.user_properties).get(_PROPERTY)
        if report.when == "call" and schedule is not None:
            self._schedules.append(schedule | {"duration_s": report.duration})
        elif report.when == "call":
            self._other_tests += 1

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        metrics = {
            "date": time.strftime("%Y-%m-%d", time.gmtime(self._began_s)),
            "duration_s": round(time.time() - self._began_s),
            "failed": self._failed,
            "other_tests": self._other_tests,
            "invariants": [inspect.getdoc(check).partition("\n")[0] for check in History(0).checks()],
            **{kind: self._totals(kind) for kind in (SIMULATED, CLUSTER)},
        }
        result_file.write(self._path, metrics)
        self._path.with_suffix(".md").write_text(page(metrics, self._path.name))

    def _totals(self, kind: str) -> dict[str, Any]:
        schedules = [schedule for schedule in self._schedules if schedule["kind"] == kind]
        seeds = sorted(schedule["seed"] for schedule in schedules)
        durations_s = [schedule["duration_s"] for schedule in schedules]
        return {
            "schedules": len(schedules),
            "seeds": [seeds[0], seeds[-1]] if seeds else [],
            "duration_s": round(sum(durations_s)),
            "longest_s": round(max(durations_s, default=0.0), 1),
            **{part: _sum(schedule[part] for schedule in schedules) for part in ("faults", "operations", "events")},
        }


def page(metrics: dict[str, Any], json_name: str) -> str:
    """The report as a page in Markdown."""
    both = [metrics[kind] for kind in (SIMULATED, CLUSTER)]
    rows = [
        ("schedules", *(f"{one['schedules']:,}" for one in both)),
        ("their seeds", *(f"{one['seeds'][0]} to {one['seeds'][1]}" if one["seeds"] else "none" for one in both)),
        *((part, *(f"{sum(one[part].values()):,}" for one in both)) for part in ("faults", "operations")),
        *((f"events checked: {kind}", *(f"{one['events'].get(kind, 0):,}" for one in both)) for kind in _COUNTED),
        ("duration in all", *(f"{one['duration_s'] / 60:.1f} min" for one in both)),
        ("the longest schedule", *(f"{one['longest_s']:.0f} s" for one in both)),
    ]
    return _PAGE.format(
        **metrics,
        failures=", ".join(f"`{name}`" for name in metrics["failed"]) or "nothing",
        version=f"commit {parts.current_commit()}",
        machine=machine.described(),
        minutes=f"{metrics['duration_s'] / 60:.0f}",
        json=json_name,
        totals=_table("", rows),
        faults=_table("fault", _kinds(both, "faults")),
        operations=_table("operation", _kinds(both, "operations")),
        checks="\n".join(f"- {line}" for line in metrics["invariants"]),
    )


def _kinds(both: list[dict[str, Any]], part: str) -> list[tuple[str, ...]]:
    names = sorted({name for one in both for name in one[part]})
    return [(name.replace("_", " "), *(f"{one[part].get(name, 0):,}" for one in both)) for name in names]


def _table(head: str, rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {head} | {SIMULATED} | {CLUSTER} |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))
