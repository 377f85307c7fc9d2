"""With logs.format: json, everything that `hermes serve` writes is one JSON object a line: a real system, with Ray."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
store: embedded:{store}
logs: {{format: json}}
router: {{port: 0}}
cameras:
  - {{name: gate, url: "sim:gate"}}
"""


def test_every_line_of_a_run_is_an_object_and_those_of_a_camera_name_its_owner(tmp_path: Path) -> None:
    (tmp_path / "hermes.yaml").write_text(CONFIGURATION.format(store=tmp_path / "store"))
    command = [sys.executable, "-m", "console.cli.main", "serve", "--config", str(tmp_path / "hermes.yaml")]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    lines, awaited = [], {"serving on", "camera_opened"}
    for line in server.stdout:
        lines.append(line)
        still_awaited = {text for text in awaited if text not in line}
        if awaited and not still_awaited:
            server.send_signal(signal.SIGTERM)
        awaited = still_awaited

    assert server.wait() == 0, lines
    objects = [json.loads(line) for line in lines]
    texts = " ".join(str(one.get("text", "")) for one in objects)
    assert "starting Ray" in texts
    assert "saving memories" in texts
    opened = next(one for one in objects if one["event"] == "camera_opened")
    assert (opened["camera"], opened["shard"]) == ("gate", 0)
    assert opened["camera_id"]
    assert opened["epoch"] > 0
