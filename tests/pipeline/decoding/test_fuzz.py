"""Damaged segments give images, fewer images or a DecodeError, never a crash, never growing memory.

libav and DALI are C: a crash would end the process, so the test runs in a child process. HERMES_FUZZ_SEGMENTS is the
number of damaged segments of each kind of video; `make fuzz` sets a high one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import footage
from tests.pipeline.footage import H264, MJPEG, VP8, VP9, Footage

SEGMENTS = int(os.environ.get("HERMES_FUZZ_SEGMENTS", "40"))
KINDS = {
    "h264": H264,
    "hevc": Footage("libx265", "mp4", options={"preset": "ultrafast", "x265-params": "log-level=none"}),
    "vp9": VP9,
    "vp8": VP8,
    "mjpeg": MJPEG,
}


@pytest.mark.slow
@pytest.mark.timeout(240 + SEGMENTS * len(KINDS))
def test_damaged_segments_neither_crash_a_decoder_nor_leak_memory(tmp_path: Path) -> None:
    paths = [footage.write(tmp_path / kind, video) for kind, video in KINDS.items()]
    command = [sys.executable, "-m", "tests.pipeline.decoding.damaging", str(SEGMENTS), *map(str, paths)]

    process = subprocess.run(command, capture_output=True, check=False)

    assert process.returncode == 0, process.stderr[-2000:]
    reports = [json.loads(line) for line in process.stdout.splitlines() if line.startswith(b"{")]
    assert [Path(report["path"]).name for report in reports] == list(KINDS)
    for report in reports:
        num_tried = SEGMENTS * report["decoders"]
        assert sum(report["outcomes"].values()) == num_tried
        assert set(report["outcomes"]) <= {"images", "fewer images", "DecodeError"}
        assert report["outcomes"].get("images", 0) < num_tried
        assert report["growth_mb"] < 30, report
