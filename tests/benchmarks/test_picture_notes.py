"""The benchmark of notes on pictures shows what it says, counts false alarms and finds faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import picture_kinds, picture_notes
from benchmarks.picture_kinds import HEIGHT, NORMAL, WIDTH
from models.tiny.scenes.scene import Scene
from tests.benchmarks.conftest import RunBenchmark

STREET = Scene(3).frame(10.0, WIDTH, HEIGHT)


def test_every_kind_of_picture_is_one_and_follows_from_its_seed() -> None:
    changes = {**NORMAL, **{kind: fault.change for kind, fault in picture_kinds.faults(3).items()}}
    for kind, change in changes.items():
        one, same = (change(STREET, 230.0, picture_kinds.random_at(3, kind, 230.0)) for _ in range(2))

        assert (one.shape, one.dtype) == (STREET.shape, np.uint8), kind
        assert np.array_equal(one, same), kind


def test_every_normal_kind_and_every_fault_has_a_row(tmp_path: Path, run_benchmark: RunBenchmark) -> None:
    ended = run_benchmark(picture_notes, "--streets", 1, "--hours", 0.01, "--parts", "normal", "--json", tmp_path / "a")

    assert ended.code == 0
    written = json.loads((tmp_path / "a").read_text())
    assert written["false_alarms_per_camera_hour"] == 0
    assert {row["kind"] for row in written["rows"]} >= {*NORMAL, "lamps"} - {"day"}
    assert all(row["hours"] == 0.01 for row in written["rows"])


def test_a_fault_is_found_with_its_delay_and_ends() -> None:
    fault = picture_kinds.faults(3)["black"]
    case = picture_notes._Case(fault, picture_notes.PictureWatch())
    for at_s in range(850, 1562):
        case.look(STREET if at_s % 2 else STREET[::-1], at_s, picture_kinds.random_at(3, "black", at_s))

    assert (case.delay_s, case.ended) == (10, True)


def test_a_false_alarm_is_counted(monkeypatch: pytest.MonkeyPatch, run_benchmark: RunBenchmark) -> None:
    monkeypatch.setitem(NORMAL, "blinks", lambda picture, at_s, _: picture * (at_s % 20 < 6))
    ended = run_benchmark(picture_notes, "--streets", 1, "--hours", 0.02, "--parts", "normal")

    assert "| blinks | 0.02 | 3 | picture_black 3 |" in ended.out
