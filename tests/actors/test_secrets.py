"""A running system with a canary in every place of a secret: none of its processes, files and outputs shows one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

from actors import system
from actors.config import loading

# isort: split
import psutil
import pytest
import pytest_asyncio
import ray

from console.client.client import HermesClient
from console.client.errors import ClientError
from protos import hermes_v1_pb2 as pb
from tests import servers
from tests.actors.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PASSWORDS = {
    "variable": "c4nary/in-a-variable",
    "file": "c4nary-in-a-file",
    "url": "c4nary-in-a-url",
    "call": "c4nary@in-a-call",
    "store": "c4nary-of-the-store",
}
TOKEN = "c4nary-token-of-the-server"
FORMS = [
    form.encode()
    for secret in (*PASSWORDS.values(), TOKEN)
    for form in {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")}
]
CONFIG = """
store: "redis://:${CANARY_STORE}@127.0.0.1:PORT/0"
router: {port: 0}
auth: {token_file: FOLDER/token}
ingest: {allowed_networks: [127.0.0.0/8], first_retry_s: 1}
shards: {checkpoint_every_s: 1}
cameras:
- {name: drawn, url: "sim:gate?seed=7"}
- {name: by-variable, url: "rtsp://127.0.0.1:9/live", user: viewer, password: "${CANARY_CAMERA}"}
- {name: by-file, url: "http://127.0.0.1:9/live", user: viewer, password_file: FOLDER/password}
- {name: by-url, url: "rtsp://viewer:c4nary-in-a-url@127.0.0.1:9/live?token=c4nary-in-a-url"}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HermesClient]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "token").write_text(TOKEN)
    (folder / "password").write_text(PASSWORDS["file"])
    os.environ |= {"CANARY_CAMERA": PASSWORDS["variable"], "CANARY_STORE": PASSWORDS["store"]}
    with servers.running(servers.VALKEY, folder / "store") as store:
        with store.client() as administrator:
            administrator.config_set("requirepass", PASSWORDS["store"])
        text = CONFIG.replace("PORT", str(store.port)).replace("FOLDER", str(folder))
        (folder / "hermes.yaml").write_text(text)
        settings = loading.load_config(folder / "hermes.yaml")
        async with system.running(settings) as up:
            with HermesClient(up.address, token=TOKEN) as client:
                await until(lambda: state_of(client, "drawn") == pb.CAMERA_STATE_LIVE)
                yield client


def state_of(client: HermesClient, name: str) -> int:
    return client.get_camera(name).state


def daemons() -> list[tuple[str, psutil.Process]]:
    """Ray's processes and everything else that this one started, by their names, but the store of the test."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since
            found.append((process.name(), process))
    return [(name, process) for name, process in found if "valkey" not in name]


def canaries_in(data: bytes) -> list[bytes]:
    return [form for form in FORMS if form in data]


async def test_no_process_inherits_the_variable_of_a_secret_or_shows_one_in_its_command(running: HermesClient) -> None:
    found: dict[str, list[bytes]] = {}
    for name, process in daemons():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since: those that stay are named below
            found[name] = canaries_in(repr((process.environ(), process.cmdline())).encode())

    assert {"raylet", "gcs_server"} <= found.keys()
    assert not any(found.values()), found


async def test_the_control_store_of_ray_holds_no_secret(running: HermesClient) -> None:
    """It would restart shards with the arguments that they were started with: those are in its memory."""
    for name in ("gcs_server", "raylet"):
        process = next(one for found, one in daemons() if found == name)
        memory = b"".join(memory_of(process.pid))
        assert b"ShardProcess" in memory
        assert canaries_in(memory) == []


def memory_of(pid: int) -> Iterator[bytes]:
    """The memory of a process that can be written, mapped region by region."""
    regions = re.findall(
        r"(?m)^([0-9a-f]+)-([0-9a-f]+) rw.. \S+ \S+ \S+ *((?!/dev).*)$", Path(f"/proc/{pid}/maps").read_text()
    )
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for first, last, _ in regions:
            memory.seek(int(first, 16))
            try:
                yield memory.read(int(last, 16) - int(first, 16))
            except OSError:  # a region that has gone or cannot be read, as [vvar]
                continue


async def test_no_file_of_ray_shows_a_secret_and_no_other_user_can_open_its_folder(running: HermesClient) -> None:
    files = session_files()

    assert any("raylet" in path.name for path in files)
    assert [path for path in files if canaries_in(path.read_bytes())] == []
    assert any(folder.stat().st_mode & 0o077 == 0 for folder in session_folder().parents)


async def test_no_error_and_no_status_shows_a_secret(running: HermesClient) -> None:
    refused = f"rtsp://viewer:{quote(PASSWORDS['call'], safe='')}@127.0.0.1:9/live"
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(running.add_camera, pb.AddCameraRequest(name="by-call", url=refused))
    tested = await asyncio.to_thread(running.test_camera, refused)
    listed = await asyncio.to_thread(running.list_cameras)

    assert [camera.name for camera in listed] == ["by-file", "by-url", "by-variable", "drawn"]
    assert canaries_in(repr((caught.value, caught.value.metadata, tested, listed)).encode()) == []


def session_folder() -> Path:
    return Path(ray._private.worker.global_worker.node.get_session_dir_path())


def session_files() -> list[Path]:
    return [path for path in session_folder().rglob("*") if path.is_file()]
