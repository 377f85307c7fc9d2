"""`hermes demo` and `hermes serve` as a user starts them: each in a process of its own, with Ray."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
HERMES = (sys.executable, "-m", "console.cli.main")
KEYS = {"camera", "question", "answer", "expected", "ttft_ms", "memory_as_of", "evidence"}


def test_the_demo_answers_eight_questions_most_of_them_rightly() -> None:
    command = [*HERMES, "demo", "--seed", "1", "--exit-after-answers", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)

    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stderr
    assert len(told) == 8
    assert all(set(one) == KEYS for one in told)
    assert all(one["ttft_ms"] > 0 and one["memory_as_of"] for one in told)
    assert len({one["camera"] for one in told}) >= 2
    assert sum(one["answer"] == one["expected"] for one in told) >= 6, told


def test_a_served_system_stops_when_it_is_told_to(tmp_path: Path) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text(
        f"store: embedded:{tmp_path / 'store'}\nrouter: {{port: 0}}\n"
        "cameras: [{name: gate, url: 'sim:gate?seed=7'}]\n"
    )
    errors = (tmp_path / "stderr").open("w+")
    serving = subprocess.Popen([*HERMES, "serve", "--config", str(config)], cwd=ROOT, stderr=errors)
    try:
        address = wait_for_address(tmp_path / "stderr")
        listed = subprocess.run(
            [*HERMES, "cameras", "list", "--json", "--address", address], cwd=ROOT, capture_output=True, timeout=60
        )
        children = psutil.Process(serving.pid).children(recursive=True)
        serving.send_signal(signal.SIGTERM)
        code = serving.wait(timeout=60)
    finally:
        serving.kill()
        errors.close()

    assert [camera["name"] for camera in json.loads(listed.stdout)] == ["gate"]
    assert code == 0
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_a_model_folder_that_is_none_is_named_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text(f"model: {tmp_path / 'nothing'}\nstore: embedded:{tmp_path / 'store'}\nrouter: {{port: 0}}\n")

    ended = subprocess.run(
        [*HERMES, "serve", "--config", str(config)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"error: model '{tmp_path / 'nothing'}': no such folder"
    assert "Traceback" not in ended.stderr


def test_the_doctor_says_what_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text(f"model: {tmp_path / 'nothing'}\nrouter: {{port: 0}}\n")

    ended = subprocess.run(
        [*HERMES, "doctor", "--config", str(config), "--json"], cwd=ROOT, capture_output=True, text=True, timeout=200
    )

    findings = json.loads(ended.stdout)
    assert ended.returncode == 1
    assert [one["name"] for one in findings if not one["ok"]] == ["model"]


def wait_for_address(log: Path) -> str:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith("serving on "):
                return line.removeprefix("serving on ").partition(";")[0]
        time.sleep(0.2)
    raise AssertionError(log.read_text())
