"""Two versions of the code over one cluster and one store: shards change version in turn, and forget nothing.

The newer version is a copy of this code with fields that this code does not know, in every kind of message.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from actors import embedded_store
from benchmarks import nodes
from benchmarks.nodes import Nodes
from console.client.client import HermesClient
from console.client.errors import ClientError
from protos import hermes_v1_pb2 as pb
from tests.actors.waiting import until
from tests.servers import free_port

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
ROOMS = ("actors", "cache_store", "console", "models", "ops", "pipeline", "protos")
CAMERAS = ("gate", "yard")
SHARDS = 2
# A move goes on after 4 s without a frame of the next shard; until that shard has one, the frames are lost.
MAX_MOVE_NS = 10_000_000_000
# What the newer version has that the older one does not: file, text, and what stands there instead.
CHANGES = (
    (
        "actors/shard/interface.py",
        '    generation: str = ""\n',
        '    generation: str = ""\n    temperature_c: float = 40.0\n',
    ),
    (
        "actors/shard/interface.py",
        "    is_standby: bool = False\n",
        "    is_standby: bool = False\n    urgency: int = 3\n",
    ),
    ("pipeline/answers.py", "    epoch: int = 0\n", "    epoch: int = 0\n    confidence: float = 0.5\n"),
    (
        "pipeline/memory_status.py",
        "    checkpointed_s: float | None = None\n",
        "    checkpointed_s: float | None = None\n    pages: int = 7\n",
    ),
    (
        "actors/shard/shard_process.py",
        "        self._shard: CameraShard | None = None\n",
        '        self._shard: CameraShard | None = None\n        log.info("newer_code_started")\n',
    ),
)


@pytest.fixture(scope="module")
def newer_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newer")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, after in CHANGES:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, str]]:
    with embedded_store.running(tmp_path_factory.mktemp("store")) as store_url, nodes.running(SHARDS) as running:
        yield running, store_url


@contextmanager
def serving(
    code: Path, build: str, settings_version: int, cluster: tuple[Nodes, str], log: Path
) -> Iterator[HermesClient]:
    """A server of this code, for the time of the block."""
    (nodes_, store_url), port = cluster, free_port()
    config = log.with_suffix(".yaml")
    shards = {
        "count": SHARDS,
        "ray": nodes_.address,
        "settings_version": settings_version,
        "device": {"max_cameras": 4, "when_full": "lower_rates"},  # none is refused on a busy machine
    }
    cameras = [{"name": name, "url": f"sim:street?seed={number}"} for number, name in enumerate(CAMERAS)]
    config.write_text(
        yaml.safe_dump({"store": store_url, "shards": shards, "router": {"port": port}, "cameras": cameras})
    )
    command = [sys.executable, "-m", "console.cli.main", "serve", "--config", str(config)]
    environment = os.environ | {"HERMES_BUILD": build, "PYTHONPATH": str(code)}
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(command, cwd=code, env=environment, stdout=output, stderr=output)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        yield stack.enter_context(HermesClient(f"127.0.0.1:{port}"))


class Watch:
    """Asks every camera through one server again and again. failures: what was refused."""

    def __init__(self, hermes: HermesClient) -> None:
        self._hermes = hermes
        self.answers = 0
        self.failures: list[ClientError] = []

    def ask(self) -> None:
        for name in CAMERAS:
            try:
                assert list(self._hermes.ask(name, "what is in view"))[-1].done.answer
                self.answers += 1
            except ClientError as error:
                self.failures.append(error)


def shards_of(hermes: HermesClient) -> Sequence[pb.Shard]:
    try:
        return list(hermes.list_shards().shards)
    except ClientError:
        return ()


def memories(hermes: HermesClient) -> list[pb.MemoryStatus]:
    return [hermes.get_camera(name).memory for name in CAMERAS]


def are_live(hermes: HermesClient) -> bool:
    try:
        cameras = [hermes.get_camera(name) for name in CAMERAS]
    except ClientError:
        return False
    return all(camera.state == pb.CAMERA_STATE_LIVE and camera.memory.frames_seen >= 8 for camera in cameras)


async def replaced(hermes: HermesClient, before: Sequence[int], watch: Watch) -> list[int]:
    """Waits until every shard is up in another process, while questions are asked. -> the processes"""

    def are_replaced() -> bool:
        watch.ask()
        shards = shards_of(hermes)
        is_up = [shard.state == pb.SHARD_STATE_UP and not shard.detail for shard in shards]
        return len(shards) == SHARDS and all(is_up) and not {shard.pid for shard in shards} & set(before)

    await until(are_replaced)
    await until(lambda: are_live(hermes))
    return [shard.pid for shard in shards_of(hermes)]


def require_kept(before: Sequence[pb.MemoryStatus], after: Sequence[pb.MemoryStatus]) -> None:
    """The memories are those of before, with more frames; a busy machine may have dropped some, or moved too slowly."""
    for old, new in zip(before, after, strict=True):
        assert new.frames_seen > old.frames_seen
        assert new.newest.ToNanoseconds() > old.newest.ToNanoseconds()
        assert {gap.reason for gap in new.gaps} <= {"frames were dropped", "restored from a checkpoint"}
        moved = [gap for gap in new.gaps if gap.reason == "restored from a checkpoint"]
        assert all(gap.end.ToNanoseconds() - gap.start.ToNanoseconds() < MAX_MOVE_NS for gap in moved)


async def test_shards_change_to_a_newer_version_and_back_while_both_versions_serve(
    newer_code: Path, cluster: tuple[Nodes, str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        old = stack.enter_context(serving(ROOT, "1", 1, cluster, tmp_path / "old.log"))
        await until(lambda: are_live(old))
        first = [shard.pid for shard in shards_of(old)]
        before = memories(old)

        with serving(newer_code, "2", 2, cluster, tmp_path / "new.log") as new:
            through_old = Watch(old)
            second = await replaced(new, first, through_old)
            through_new = Watch(new)
            through_new.ask()
            upgraded = memories(new)
            require_kept(before, upgraded)
            assert (through_old.failures, through_new.failures) == ([], [])
            assert through_old.answers > len(CAMERAS)
            assert "server_outdated" in (tmp_path / "old.log").read_text()
            # The older server does not call the newer shards older than itself.
            assert [shard.detail for shard in shards_of(old)] == [""] * SHARDS
            assert (tmp_path / "new.log").read_text().count("newer_code_started") >= SHARDS

        rolled_back = stack.enter_context(serving(ROOT, "1", 3, cluster, tmp_path / "back.log"))
        through_old = Watch(old)
        await replaced(rolled_back, second, through_old)
        require_kept(upgraded, memories(rolled_back))
        assert through_old.failures == []
