"""How the tests run: servers need markers, and the files that start Ray share a worker."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import scheduling, server_markers, servers
from tests.server_markers import UnmarkedServer

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("command", "marker"),
    [
        ("/venv/bin/valkey-server /tmp/server.conf", "redis"),
        ("/venv/bin/redis-server /tmp/server.conf", "redis"),
        ("/venv/ray/core/src/ray/raylet/raylet --port=0", "ray"),
        ("/usr/bin/python3 tests/pipeline/rtsp_server.py 0", "rtsp"),
    ],
)
def test_a_test_that_starts_a_server_needs_the_marker_of_the_server(command: str, marker: str) -> None:
    assert server_markers.missing_marker(command, {"slow"}) == marker
    assert server_markers.missing_marker(command, {"slow", marker}) is None


def test_a_server_without_its_marker_is_not_started(tmp_path: Path) -> None:
    program = tmp_path / "valkey-server"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)

    with pytest.raises(UnmarkedServer, match=r"valkey-server.* lacks @pytest\.mark\.redis"):
        subprocess.run([program], check=True)

    assert not (tmp_path / "started").exists()


def test_the_files_that_start_ray_are_known_by_their_text() -> None:
    def starts_ray(path: str) -> bool:
        return scheduling._starts_ray(ROOT / "tests" / path)

    assert starts_ray("actors/test_end_to_end.py")
    assert starts_ray("console/test_running_systems.py")
    assert not starts_ray("ops/test_rope.py")


def test_a_port_for_a_later_server_is_none_that_another_test_may_get_before_it() -> None:
    """Linux gives any of its range to a socket that asks for any: at times the one that was free a moment ago."""
    lowest, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())

    ports = [servers.free_port() for _ in range(20)]

    assert len(set(ports)) == 20
    assert max(ports) < lowest
