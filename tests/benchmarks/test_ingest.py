"""The benchmark of ingest compares like with like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import ingest
from models.tiny.scenes.scene import Scene
from pipeline.decoding.video_writer import write_video

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ingest") / "camera.mp4"
    pictures = (Scene(7).frame(place / 25, 320, 180) for place in range(100))
    write_video(pictures, path, fps=25, codec="h264", bits_per_s=300_000)
    return path


def test_every_way_sees_one_frame_a_second(recording: Path) -> None:
    ways = (ingest.play_camera, ingest.play_masked_camera, ingest.play_bare, ingest.play_bare_by_default)

    assert [play(recording) for play in ways] == [4, 4, 4, 4]


def test_a_recording_has_the_bit_rate_that_was_asked_for(recording: Path) -> None:
    assert recording.stat().st_size * 8 / 4 == pytest.approx(300_000, rel=0.5)


@pytest.mark.slow
def test_programs_get_all_five_metrics(tmp_path: Path) -> None:
    file = tmp_path / "ingest.json"
    command = [sys.executable, "-m", "benchmarks.ingest", "--json", str(file)]
    command += ["--seconds", "3", "--pairs", "1", "--minutes", "1"]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    figures = json.loads(file.read_text())
    assert figures["command"].startswith("python -m benchmarks.ingest --json ")
    assert figures["cameras_per_core"] == pytest.approx(1000 / figures["ingest_ms"], rel=0.01)
    assert figures["over_bare_pyav"] == pytest.approx(figures["ingest_ms"] / figures["bare_pyav_ms"], rel=0.01)
    assert figures["quiet_token_ratio"] == 60.0
    assert figures["quiet_device_time_ratio"] > 2
    assert figures["gate_loss_points"] == ingest.recorded_loss()["gate_loss_points"]


def test_the_loss_that_is_reported_is_the_worst_that_was_measured(tmp_path: Path) -> None:
    rows = [
        {"metric": metric, "value": value, "of": f"of {value}", "commit": "c0ffee"}
        for metric, value in (("gate_loss_points", -1.0), ("gate_loss_points", 0.5), ("quiet_token_ratio", 60.0))
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    figures = ingest.recorded_loss(tmp_path / "rows.jsonl")

    assert figures == {"gate_loss_points": 0.5, "gate_loss_of": "of 0.5", "gate_loss_commit": "c0ffee"}
