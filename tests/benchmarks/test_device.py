"""The benchmark of a device has every figure, and repeats one part without losing the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import device, result_file
from benchmarks.on_device import metrics
from benchmarks.on_device.metrics import AT_LEAST, AT_MOST, Row
from benchmarks.on_device.plot import plot, taken
from benchmarks.on_device.scale import QUICK

_UNASKED = {"int8_ttft_over_bf16", "int8_step_over_bf16", "int8_ingest_over_bf16"}


@pytest.mark.slow
def test_every_figure_is_measured_and_a_part_can_be_repeated(tmp_path: Path) -> None:
    file = tmp_path / "device.json"

    rows = device.run(list(device.PARTS), QUICK, file)
    again = device.run(["tiny-steps"], QUICK, file)

    assert {row.metric for row in rows} == AT_MOST.keys() | AT_LEAST.keys() | _UNASKED
    assert all(row.value > 0 for row in rows if row.metric != "int8_loss_points")
    assert next(row for row in rows if row.metric == "bytes_over_formula").value == 1
    assert "answers as alone" in next(row.note for row in rows if row.metric == "questions_32_over_serial")
    assert sorted(row.metric for row in again) == sorted(row.metric for row in rows)
    assert [row for row in again if row.part != "tiny-steps"] == [row for row in rows if row.part != "tiny-steps"]
    assert [Row(**row) for row in result_file.read_rows(file)] == again


def test_a_figure_beyond_its_limit_does_not_hold() -> None:
    within, beyond, too_low = (
        Row("part", metric, value, None, None, "", 0.0, "commit")
        for metric, value in (("upkeep_share", 0.02), ("upkeep_share", 0.021), ("questions_32_over_serial", 2.9))
    )

    assert (within.holds, beyond.holds, too_low.holds) == (True, False, False)
    assert metrics.table([within, beyond]).count("**no**") == 1


def test_the_picture_shows_by_how_much_a_figure_misses(tmp_path: Path) -> None:
    upkeep, questions = (
        Row("part", metric, value, None, None, "", 0.0, "commit")
        for metric, value in (("upkeep_share", 0.03), ("questions_32_over_serial", 6.0))
    )

    plot([upkeep, questions], tmp_path / "device.png")

    assert (taken(upkeep), taken(questions)) == pytest.approx((1.5, 0.5))
    assert (tmp_path / "device.png").read_bytes().startswith(b"\x89PNG")
