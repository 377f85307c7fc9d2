"""The report of `make chaos`, of a run in several workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCHEDULES = """
import pytest
from tests.chaos import report
from tests.chaos.history import Event, History

@pytest.mark.parametrize("seed", range(4))
def test_schedule(seed, record_property):
    history = History(seed, [Event(1.0, "answer", "gate")] * 2)
    history.steps.update(["kill", "kill", "add"])
    record_property(*report.properties(report.SIMULATED, history, ["add"]))
    assert seed != 2

def test_head():
    pass
"""


@pytest.mark.slow
def test_a_report_counts_the_schedules_of_all_workers_and_names_those_that_failed(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.chaos.report import pytest_configure\n")
    (tmp_path / "test_schedules.py").write_text(SCHEDULES)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    file = tmp_path / "reports" / "chaos.json"

    subprocess.run(
        [sys.executable, "-m", "pytest", "--numprocesses", "2", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"HERMES_CHAOS_REPORT": str(file), "PYTHONPATH": str(ROOT)},
        timeout=200,
        check=False,
    )

    result = json.loads(file.read_text())
    totals = result["simulated"]
    assert (totals["schedules"], totals["seeds"], result["other_tests"]) == (4, [0, 3], 1)
    assert (totals["faults"], totals["operations"], totals["events"]["answer"]) == ({"kill": 8}, {"add": 4}, 8)
    assert [name.partition("::")[2] for name in result["failed"]] == ["test_schedule[2]"]
    page = file.with_suffix(".md").read_text()
    assert "| faults | 8 | 0 |" in page
    assert "test_schedule[2]" in page
