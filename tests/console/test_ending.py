"""However `hermes demo` and `hermes serve` end, nothing of them stays: real processes, with Ray."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actors import embedded_store
from console.client.client import HermesClient
from tests.actors.processes import is_alive

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
# As a job that a shell starts in the background, which ignores SIGINT; and not as one of nohup, which ignores SIGHUP.
SIGNALS = ("--ignore-signal=INT", "--default-signal=HUP")
AS_ON_A_TERMINAL = ("--default-signal=INT",)
HERMES = (sys.executable, "-m", "console.cli.main")
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Running:
    """A command whose temporary files are in a folder of its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")  # it may end in the middle of a character

    def end(self, number: signal.Signals) -> int:
        """Sends the signal; returns the exit code when no process and no folder of the run is left."""
        command = psutil.Process(self.process.pid)
        processes: list[psutil.Process] = []

        def has_started() -> bool:
            """The first one starts after the line that says so."""
            processes[:] = command.children(recursive=True)
            return bool(processes)

        wait_until(has_started)
        self.process.send_signal(number)
        code = self.wait()
        wait_until(lambda: not any(map(is_alive, processes)) and not self.left_over())
        return code

    def wait(self) -> int:
        """The exit code. A process that does not end in time is aborted, so that the error says where it stood."""
        try:
            return self.process.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(timeout=TIMEOUT_S)
            pytest.fail(f"still running after {TIMEOUT_S:g} s:\n{self.errors}")

    def left_over(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if path.name.startswith(("hermes", "ray"))]


@contextmanager
def running(*arguments: str, signals: tuple[str, ...] = SIGNALS) -> Iterator[Running]:
    # The path of a socket of Ray is as long as a path may be, so the folder is directly below /tmp.
    folder = Path(tempfile.mkdtemp(prefix="e", dir="/tmp"))
    environment = os.environ | {
        "TMPDIR": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "PYTHONFAULTHANDLER": "1",
    }
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            ["env", *signals, *HERMES, *arguments],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
    try:
        yield Running(process, folder)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("stage", ["starting Ray", "What the four cameras show"])
def test_sigterm_ends_the_demo_at_any_moment(stage: str) -> None:
    with running("demo", "--seed", "1", "--port", "0") as demo:
        wait_until(lambda: stage in demo.errors)
        code = demo.end(signal.SIGTERM)

        assert code == 130
        assert "SIGTERM received" not in demo.errors  # the head of a stack dump
        assert "Traceback" not in demo.errors


@pytest.mark.parametrize("command", [("demo", "--port", "0"), ("doctor",)], ids=["demo", "doctor"])
def test_ctrl_c_while_ray_starts_ends_a_command_that_has_nothing_to_save(command: tuple[str, ...]) -> None:
    """Python lost the exception in the middle of an import: the doctor went on, and the demo never ended."""
    with running(*command, signals=AS_ON_A_TERMINAL) as started:
        wait_until(lambda: "gcs_server" in names_of_children(started.process.pid))

        assert started.end(signal.SIGINT) == 130
        assert "Traceback" not in started.errors


def test_a_killed_demo_leaves_nothing() -> None:
    with running("demo", "--seed", "1", "--port", "0") as demo:
        wait_until(lambda: "What the four cameras show" in demo.errors)

        assert demo.end(signal.SIGKILL) == -signal.SIGKILL


def test_a_killed_server_leaves_nothing(tmp_path: Path) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text("router: {port: 0}\n")
    with running("serve", "--config", str(config)) as server:
        wait_until(lambda: "serving on" in server.errors)

        assert server.end(signal.SIGKILL) == -signal.SIGKILL


def test_sigterm_ends_a_server_that_is_starting(tmp_path: Path) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text("router: {port: 0}\n")
    with running("serve", "--config", str(config)) as server:
        wait_until(lambda: "event=listening" in server.errors)
        address = re.search(r"event=listening address=(\S+)", server.errors)[1]
        assert [health(address, service) for service in ("live", "ready")] == ["SERVING", "NOT_SERVING"]
        wait_until(lambda: "loading model" in server.errors)

        assert server.end(signal.SIGTERM) == 1
        assert server.errors.splitlines()[-1] == "stopped before the system was ready"
        assert f"{server.folder}/state/hermes/stores/hermes-" in server.errors  # its own store, named at start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_of_a_server_ends_it_with_its_memories_saved(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Ray was in the group too and ended first, so nothing was saved. A closed terminal sends SIGHUP so."""
    config = tmp_path / "hermes.yaml"
    config.write_text(
        f"router: {{port: 0}}\nstore: embedded:{tmp_path}/store\nshards: {{checkpoint_every_s: 3600}}\n"
        "cameras: [{name: gate, url: 'sim:street?seed=3'}]\n"
    )
    with running("serve", "--config", str(config)) as server:
        wait_until(lambda: "serving on" in server.errors)
        address = re.search(r"event=listening address=(\S+)", server.errors)[1]
        with HermesClient(address) as hermes:
            wait_until(lambda: hermes.get_camera("gate").memory.frames_seen > 0)
        os.killpg(server.process.pid, number)

        assert server.wait() == 0
        assert "shard_not_closed" not in server.errors
    with embedded_store.running(tmp_path / "store") as url, redis.Redis.from_url(url) as store:
        assert store.keys("hermes:*:manifests")


def health(address: str, service: str) -> str:
    """What the health service says, asked while the server starts Ray: nothing of that may hold a probe up."""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


def names_of_children(pid: int) -> list[str]:
    names = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            names.append(child.name())
    return names


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
