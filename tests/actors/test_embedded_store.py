"""The embedded store: durable, private, and only one for each folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from actors import embedded_store, open_ports
from actors.errors import StoreExposed, StoreInUse, StoreNotStarted
from tests.actors.processes import is_alive
from tests.actors.waiting import until

pytestmark = pytest.mark.redis


def test_data_survives_a_restart(tmp_path: Path) -> None:
    with embedded_store.running(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("camera", "gate")
    with embedded_store.running(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("camera") == b"gate"


async def test_a_server_that_ends_is_started_again_with_its_data(tmp_path: Path) -> None:
    with embedded_store.running(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.config_set("appendfsync", "always")
        client.set("camera", "gate")
        first = int(client.info("server")["process_id"])
        psutil.Process(first).kill()

        def is_back() -> bool:
            try:
                return int(client.info("server")["process_id"]) != first
            except redis.ConnectionError:
                return False

        await until(is_back)
        assert client.get("camera") == b"gate"
        last = int(client.info("server")["process_id"])

    assert not psutil.pid_exists(last)


def test_it_opens_no_port(tmp_path: Path) -> None:
    before = open_ports.listeners(psutil.Process())

    with embedded_store.running(tmp_path) as url:
        assert url.startswith("unix:///")
        assert open_ports.listeners(psutil.Process()) == before


def test_other_users_cannot_reach_its_socket(tmp_path: Path) -> None:
    with embedded_store.running(tmp_path / "data") as url:
        folder = Path(url.removeprefix("unix://")).parent
        assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_folder_that_others_can_open_is_refused_with_the_command_that_closes_it(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(StoreExposed, match=f"mode {mode:04o}, limit 0700") as caught:
        embedded_store.running(folder).__enter__()
    assert list(folder.iterdir()) == []

    subprocess.run(str(caught.value).rpartition("run: ")[2], shell=True, check=True)
    with embedded_store.running(folder):
        pass


def test_a_new_folder_is_closed_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with embedded_store.running(tmp_path / "new"):
            assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    finally:
        os.umask(before)


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with embedded_store.running(tmp_path), pytest.raises(StoreInUse, match=str(tmp_path)):
        embedded_store.running(tmp_path).__enter__()


def test_a_long_path_works(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30) / ("deeper" * 20)

    with embedded_store.running(folder) as url, redis.Redis.from_url(url) as client:
        assert client.ping()


def is_running(pid: int) -> bool:
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def test_the_server_of_a_killed_hermes_is_replaced(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, shutil, sys\n"
        "from actors import embedded_store\n"
        "with embedded_store.running(pathlib.Path(sys.argv[1])) as url:\n"
        "    import redis\n"
        "    redis.Redis.from_url(url).set('camera', 'gate')\n"
        "    shutil.rmtree(pathlib.Path(url.removeprefix('unix://')).parent)\n"  # by which others would find and end it
        "    print(pathlib.Path(sys.argv[1], 'valkey.pid').read_text(), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )

    with embedded_store.running(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("camera") == b"gate"
        assert not is_running(int(killed.stdout))


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreNotStarted, match="file/store"):
        embedded_store.running(tmp_path / "file" / "store").__enter__()


def test_an_error_of_the_block_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), embedded_store.running(tmp_path):
        raise ConnectionResetError
