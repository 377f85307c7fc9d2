"""`hermes fleet stop --force` ends the servers of a cluster, then its shards, with every memory saved.

One that waits for a node has nothing to save. It was waited for, and had to load its model before it could end.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from actors.fleet.server_presence import ServerPresence
from benchmarks import nodes
from tests import servers
from tests.actors.waiting import until
from tests.servers import VALKEY

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
HERMES = (sys.executable, "-m", "console.cli.main")


async def test_a_forced_stop_ends_servers_and_shards_and_saves_every_memory(tmp_path: Path) -> None:
    with servers.running(VALKEY, tmp_path, appendonly="yes") as store, nodes.running(1) as cluster:
        configuration = tmp_path / "hermes.yaml"
        configuration.write_text(
            f"store: {store.url}\nrouter: {{port: 0}}\nshards: {{ray: '{cluster.address}', count: 2}}\n"
            "cameras:\n  - {name: gate, url: 'sim:gate'}\n"
        )
        presence = ServerPresence(store.url)

        async def is_served() -> bool:
            assert server.poll() is None
            log = (tmp_path / "log").read_text(errors="replace")
            # A server says that others may ask it to end before it is ready, and ends with another code until then.
            return bool(await presence.serving()) and "camera_opened" in log and "serving on" in log

        server = start(configuration, tmp_path / "log")
        try:
            await until(is_served)
            stopped = await stop(configuration, "--force")
            again = await stop(configuration)
            assert server.wait(60) == 0, (tmp_path / "log").read_text()
        finally:
            server.kill()
            server.wait()
            await presence.close()

    assert stopped.returncode == 0, stopped.stderr
    assert "asked to end" in stopped.stderr
    assert "0 cameras moved, 1 saved, 0 not saved" in stopped.stderr
    assert "shard-1: had no process" in stopped.stderr
    assert (again.returncode, "no shard runs in this cluster" in again.stderr) == (0, True), again


def start(configuration: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as file:
        return subprocess.Popen([*HERMES, "serve", "-c", str(configuration)], cwd=ROOT, stdout=file, stderr=file)


async def stop(configuration: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*HERMES, "fleet", "stop", "--config", str(configuration), *options]
    return await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
