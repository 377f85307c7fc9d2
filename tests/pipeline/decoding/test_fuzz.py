"""Damaged segments: pictures, fewer pictures or a typed reason, never a crash, never memory that grows.

libav and DALI are C: a crash would take the process, so all of it happens in a child. HERMES_FUZZ_SEGMENTS says how
many damaged segments each kind of video gets; `make fuzz` has many.
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
def test_damaged_segments_crash_nothing_and_leave_nothing_behind(tmp_path: Path) -> None:
    paths = [footage.write(tmp_path / kind, made) for kind, made in KINDS.items()]
    command = [sys.executable, "-m", "tests.pipeline.decoding.damaging", str(SEGMENTS), *map(str, paths)]

    found = subprocess.run(command, capture_output=True, check=False)

    assert found.returncode == 0, found.stderr[-2000:]
    reports = [json.loads(line) for line in found.stdout.splitlines() if line.startswith(b"{")]
    assert [Path(told["path"]).name for told in reports] == list(KINDS)
    for told in reports:
        tried = SEGMENTS * told["decoders"]
        assert sum(told["outcomes"].values()) == tried
        assert set(told["outcomes"]) <= {"pictures", "fewer pictures", "DecodeError"}
        assert told["outcomes"].get("pictures", 0) < tried
        assert told["grown_mb"] < 30, told
