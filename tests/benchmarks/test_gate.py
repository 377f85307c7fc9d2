"""The benchmark of the gate counts the tokens that the product reads, and pairs the same questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gate
from models import registry
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from tests.benchmarks.conftest import RunBenchmark


@pytest.fixture(scope="module")
def tiny() -> VideoLanguageModel:
    return registry.load_model("tiny", "cpu")


def test_a_quiet_camera_costs_a_tenth_of_the_tokens_and_less_time(tiny: VideoLanguageModel) -> None:
    found = {row.metric: row for row in gate.quiet_rows(tiny, minutes=1)}

    assert found["quiet_token_ratio"].value == 60.0
    assert found["quiet_device_time_ratio"].value > 2
    assert all(row.n == 120 for row in found.values())


def test_without_the_gate_every_token_is_read(tiny: VideoLanguageModel) -> None:
    assert gate.quiet_cost(tiny, 40, seed=3, is_gated=False).tokens == 40 * tiny.spec.layout.max_cells


def test_every_visitor_is_read_at_once_and_an_empty_street_is_not(tiny: VideoLanguageModel) -> None:
    found = {row.metric: row for row in gate.vigilance_rows(tiny, seed=2, num_streams=2)}

    assert found["visitors_read_at_once_share"].value == 1.0
    assert found["false_alarm_share"].value < 0.01
    assert all(row.n > 10 for row in found.values())


def test_a_gate_that_misses_visitors_or_passes_empty_frames_is_detected() -> None:
    scene = Scene(5, mean_gap_s=10.0)
    nothing = torch.zeros(200, 16, dtype=torch.bool)

    assert not any(gate._is_read_at_once(scene, nothing))
    assert all(gate._is_read_at_once(scene, ~nothing))
    assert sum(gate._is_false_alarm(scene, ~nothing)) > 10


def test_the_loss_is_of_the_same_questions_gated_and_not(tmp_path: Path, run_benchmark: RunBenchmark) -> None:
    arguments = ["--parts", "loss", "--streams", "2", "--lengths", "32", "--budgets", "96"]
    arguments += ["--folder", tmp_path / "parts", "--json", tmp_path / "rows.json"]
    ended = run_benchmark(gate, *arguments)

    assert ended.code == 0
    written = json.loads((tmp_path / "rows.json").read_text())["rows"]
    loss = next(row for row in written if row["metric"] == "gate_loss_points")
    kept = [json.loads(file.read_text()) for file in (tmp_path / "parts").iterdir()]
    right = {
        part["settings"]["policy"]: [item["is_right"] for of_stream in part["outcomes"] for item in of_stream]
        for part in kept
    }
    assert loss["n"] == len(right["questions"]) == len(right["ours-gated"])
    lost = (sum(right["questions"]) - sum(right["ours-gated"])) / loss["n"]
    assert loss["value"] == pytest.approx(100 * lost, abs=1e-3)
    assert loss["low"] <= loss["value"] <= loss["high"]
    assert "| gate_loss_points |" in ended.out
