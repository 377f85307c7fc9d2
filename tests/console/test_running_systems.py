"""`hermes demo` and `hermes serve` as a user starts them: each in a process of its own, with Ray."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
HERMES = (sys.executable, "-m", "console.cli.main")
END_S = 120  # for an end in order on a busy machine
KEYS = {"camera", "question", "answer", "expected", "ttft_ms", "memory_as_of", "evidence"}


@dataclass(frozen=True)
class RunningDemo:
    """The process, its standard error, and its eight answers."""

    process: subprocess.Popen[str]
    log: Path
    answers: list[dict[str, Any]]

    def run_json(self, *arguments: str) -> Any:
        address = wait_for_line(self.log, "--address ").partition("--address ")[2]
        command = [*HERMES, *arguments, "--json", "--address", address]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(ended.stdout)

    def shards(self) -> list[dict[str, Any]]:
        shards: list[dict[str, Any]] = self.run_json("shards", "list")["shards"]
        return shards


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """The demo after its eight answers; it stays up for the module."""
    log = tmp_path_factory.mktemp("demo") / "stderr"
    command = [*HERMES, "demo", "--seed", "1", "--json", "--port", "0"]
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        answers = [json.loads(line) for line in itertools.islice(process.stdout, 8)]
        assert len(answers) == 8, log.read_text()
        wait_for_line(log, "Ctrl-C ends")
        yield RunningDemo(process, log, answers)
    finally:
        process.kill()


def test_the_demo_answers_eight_questions_most_of_them_rightly(demo: RunningDemo) -> None:
    assert all(set(answer) == KEYS for answer in demo.answers)
    assert all(answer["ttft_ms"] > 0 and answer["memory_as_of"] for answer in demo.answers)
    assert demo.answers[0]["question"] == "what is in view"
    assert len({answer["camera"] for answer in demo.answers}) >= 3
    assert sum(answer["answer"] == answer["expected"] for answer in demo.answers) >= 6, demo.answers


def test_the_demo_names_a_picture_of_what_its_cameras_show(demo: RunningDemo) -> None:
    path = Path(wait_for_line(demo.log, "  and open ").removeprefix("  and open "))

    assert path.read_bytes().startswith(b"\xff\xd8")


def test_a_list_of_shards_says_what_each_process_costs(demo: RunningDemo) -> None:
    for shard in demo.shards():
        assert 100_000_000 < shard["resident_bytes"] < 20_000_000_000
        assert shard["is_spare"] is False


def test_the_demo_reports_a_killed_shard_and_its_restored_memory_in_one_line(demo: RunningDemo) -> None:
    before = demo.shards()
    os.kill(before[1]["pid"], signal.SIGKILL)

    line = wait_for_line(demo.log, "shard 1 ended; ")

    assert all(name in line for name in before[1]["cameras"])
    assert "restored on shard" in line
    assert "memory back to" in line
    assert all(camera["state"] == "live" for camera in demo.run_json("cameras", "list"))


def test_the_demo_ends_with_all_its_processes_when_it_is_stopped(demo: RunningDemo) -> None:
    """The last test of the shared demo."""
    children = psutil.Process(demo.process.pid).children(recursive=True)
    demo.process.send_signal(signal.SIGTERM)

    assert demo.process.wait(timeout=END_S) == 0
    assert psutil.wait_procs(children, timeout=END_S)[1] == []


def test_a_served_system_ends_with_all_its_processes_on_sigterm(tmp_path: Path) -> None:
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
        code = serving.wait(timeout=END_S)
    finally:
        serving.kill()
        errors.close()

    assert [camera["name"] for camera in json.loads(listed.stdout)] == ["gate"]
    assert code == 0
    assert psutil.wait_procs(children, timeout=END_S)[1] == []


def test_a_server_says_in_one_line_of_its_own_that_a_shard_ended(tmp_path: Path) -> None:
    """Neither Ray's paragraphs about possible causes nor colour codes reach a log file."""
    config, log = tmp_path / "hermes.yaml", tmp_path / "log"
    config.write_text(f"store: embedded:{tmp_path / 'store'}\nrouter: {{port: 0}}\n")
    with log.open("w") as output:
        serving = subprocess.Popen([*HERMES, "serve", "--config", str(config)], cwd=ROOT, stdout=output, stderr=output)
    try:
        wait_for_line(log, "serving on ")
        os.kill(int(wait_for_line(log, "event=shard_up").rpartition("pid=")[2]), signal.SIGKILL)
        line = wait_for_line(log, "event=shard_down")
        wait_for_count(log, "event=shard_up", 2)
        serving.send_signal(signal.SIGTERM)
        serving.wait(timeout=END_S)
    finally:
        serving.kill()

    assert "level=warning" in line
    assert "\x1b" not in log.read_text()
    assert "(raylet)" not in log.read_text()


def test_a_missing_model_folder_is_named_in_one_line(tmp_path: Path) -> None:
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
    return wait_for_line(log, "serving on ").removeprefix("serving on ").partition(";")[0]


def wait_for_count(log: Path, text: str, count: int) -> None:
    deadline_s = time.monotonic() + 200
    while (written := log.read_text(errors="replace")).count(text) < count:
        assert time.monotonic() < deadline_s, written
        time.sleep(0.1)


def wait_for_line(log: Path, text: str) -> str:
    """The first line that holds the text, once it is whole."""
    deadline_s = time.monotonic() + 200
    while time.monotonic() < deadline_s:
        for line in log.read_text(errors="replace").splitlines(keepends=True):
            if text in line and line.endswith("\n"):
                return line.rstrip("\n")
        time.sleep(0.1)
    raise AssertionError(log.read_text())
