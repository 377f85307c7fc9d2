"""Two servers over one cluster and one store: processes of `hermes serve`, started again whenever they have ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from benchmarks.nodes import Nodes
from console.client.client import HermesClient
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
_HERMES = (sys.executable, "-m", "console.cli.main")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cameras:
    """The cameras of a configuration, and the version of its settings."""

    version: int
    rows: tuple[dict[str, object], ...]

    def edited(self, *rows: dict[str, object]) -> Cameras:
        """The next version, with these cameras."""
        return Cameras(self.version + 1, rows)


class ServerProcess:
    """One server. is_ready: whether it has let a client's call through since its start."""

    def __init__(self, number: int, folder: Path, settings: dict[str, Any]) -> None:
        self.name = f"server {number}"
        self.is_ready = False
        self.log = folder / f"server-{number}.log"
        self._config = folder / f"server-{number}.yaml"
        self._settings = settings
        self._clients: list[HermesClient] = []
        self._is_ending = False
        self.log.unlink(missing_ok=True)

    def start(self, cameras: Cameras) -> None:
        """Starts the process with these cameras in its configuration; it answers when it is ready."""
        port = free_port()
        shards = self._settings["shards"] | {"settings_version": cameras.version}
        changes = {"shards": shards, "router": {"port": port}, "cameras": list(cameras.rows)}
        self._config.write_text(yaml.safe_dump(self._settings | changes))
        with self.log.open("ab") as log:
            command = [*_HERMES, "serve", "--config", str(self._config)]
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ.copy())
        self._clients.append(HermesClient(f"127.0.0.1:{port}"))
        self.is_ready = False

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that has ended by itself, None while it runs."""
        return None if self._is_ending else self._process.poll()

    async def call(self, work: Callable[[HermesClient], T]) -> T:
        """Performs calls of a client in a thread. Raises ClientError."""
        process = self._process
        result = await asyncio.to_thread(work, self._clients[-1])
        if process is self._process:
            self.is_ready = True
        return result

    async def restart(self, number: signal.Signals, cameras: Cameras) -> None:
        """Ends the process by this signal and starts the next one."""
        self._is_ending = True
        self._process.send_signal(number)
        await asyncio.to_thread(self._process.wait)
        self.start(cameras)
        self._is_ending = False

    def close(self) -> None:
        """Ends the process and all connections."""
        for client in self._clients:
            client.close()
        self._process.kill()
        self._process.wait()


@dataclass
class Servers:
    """The servers. cameras: those of the configuration that the next start of a server gets."""

    processes: list[ServerProcess]
    cameras: Cameras

    def logs(self) -> str:
        """Where the logs of the servers are."""
        return " ".join(str(process.log) for process in self.processes)


@contextmanager
def running(folder: Path, settings: dict[str, Any], cameras: Cameras) -> Iterator[Servers]:
    """Both servers, for the time of the block."""
    servers = Servers([ServerProcess(number, folder, settings) for number in range(2)], cameras)
    with contextlib.ExitStack() as stack:
        for process in servers.processes:
            process.start(cameras)
            stack.callback(process.close)
        yield servers


def settings_of(cluster: Nodes, store_url: str, *, shards: int, slots: int) -> dict[str, Any]:
    """The configuration of every server, without its cameras and its port."""
    return {
        "store": store_url,
        "ingest": {"allowed_networks": ["127.0.0.0/8"]},
        "shards": {
            "count": shards,
            "ray": cluster.address,
            "checkpoint_every_s": 2.0,
            "device": {"max_cameras": slots, "when_full": "lower_rates"},
        },
    }
