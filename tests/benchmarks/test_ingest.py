"""The benchmark of ingest compares like with like."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import ingest
from models.tiny.scene import Scene
from pipeline.encode import write_video


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
