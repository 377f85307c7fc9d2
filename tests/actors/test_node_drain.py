"""A node of a Ray cluster that is told to end gives its cameras to the other nodes: real processes, with Ray."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from actors import system
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.fleet.fleet import Fleet
from actors.fleet.views import CameraView
from benchmarks import nodes
from cache_store.gap import GapReason
from pipeline.cameras import CameraSpec, CameraState
from pipeline.device.device_config import DeviceConfig, WhenFull
from tests import servers
from tests.actors.processes import is_alive
from tests.actors.waiting import until
from tests.servers import VALKEY

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
CAMERAS = tuple(f"camera{number}" for number in range(4))


async def test_drained_and_terminated_shards_give_up_their_cameras_without_a_gap(tmp_path: Path) -> None:
    with servers.running(VALKEY, tmp_path, appendonly="yes") as store, nodes.running(2) as cluster:
        settings = HermesConfig(
            shards=ShardsConfig(
                count=2,
                ray=cluster.address,
                checkpoint_every_s=3_600.0,  # so that only a move or the last save can keep a memory
                # However long a frame takes on a busy machine, a shard takes the cameras of the other one.
                device=DeviceConfig(max_cameras=len(CAMERAS), when_full=WhenFull.LOWER_RATES),
            ),
            store=store.url,
            router=RouterConfig(port=0),
            cameras=tuple(CameraSpec(name=name, url=f"sim:street?seed={name[-1]}") for name in CAMERAS),
        )
        async with system.running(settings) as running:
            fleet = running.fleet
            await until(partial(are_live, fleet, 2))
            await _terminate_a_shard(fleet)
            await _drain_a_node(fleet, cluster.address)
            seen = frames(await fleet.list_cameras())
            refused = await _run(["fleet", "stop", "--config", str(config_of(tmp_path, settings))])
            assert (refused.returncode, "servers still serve these shards" in refused.stderr) == (2, True), refused
        stopped = await _run(["fleet", "stop", "--config", str(config_of(tmp_path, settings))])
        assert stopped.returncode == 0, stopped.stderr
        saved = [int(found) for found in re.findall(r"(\d+) saved, 0 not saved", stopped.stderr)]
        assert sum(saved) == len(CAMERAS)
        async with system.running(settings) as running:
            await until(partial(are_live, running.fleet, 1))
            restored = await running.fleet.list_cameras()

    for camera in restored:
        assert camera.status.memory.frames_seen >= seen[camera.spec.name]


def config_of(folder: Path, settings: HermesConfig) -> Path:
    path = folder / "hermes.yaml"
    path.write_text(f"store: {settings.store}\nshards: {{ray: '{settings.shards.ray}', count: 2}}\n")
    return path


async def _terminate_a_shard(fleet: Fleet) -> None:
    """SIGTERM to one process: its cameras move, and Ray starts it anew."""
    seen = frames(await fleet.list_cameras())
    left, kept = await fleet.list_shards()
    assert left.pid is not None
    process = psutil.Process(left.pid)
    process.send_signal(signal.SIGTERM)
    await until(lambda: not is_alive(process))

    cameras = await fleet.list_cameras()
    assert {camera.shard_index for camera in cameras} == {kept.index}
    assert_whole(cameras, seen)
    await until(partial(are_live, fleet, 2))


async def _drain_a_node(fleet: Fleet, address: str) -> None:
    """The preStop hook: when it ends, the shard of the node has no camera, and takes none."""
    cameras = await fleet.list_cameras()
    seen, shards = frames(cameras), await fleet.list_shards()
    left = next(shard for shard in shards if shard.cameras)
    assert left.pid is not None
    command = ["node", "drain", "--deadline", "120", "--address", address, "--node-id", ray_node_of(left.pid)]
    ended = await _run(command)

    assert (ended.returncode, "cameras moved, 0 saved, 0 not saved" in ended.stderr) == (0, True), ended.stderr
    cameras, shards = await fleet.list_cameras(), await fleet.list_shards()
    assert {camera.shard_index for camera in cameras} == {1 - left.index}
    assert shards[left.index].is_draining
    assert_whole(cameras, seen)


async def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    run = partial(subprocess.run, [sys.executable, "-m", "console.cli.main", *command], cwd=ROOT, timeout=240)
    return await asyncio.to_thread(run, capture_output=True, text=True, check=False)


async def are_live(fleet: Fleet, num_shards: int) -> bool:
    cameras, shards = await fleet.list_cameras(), await fleet.list_shards()
    is_watched = len(cameras) == len(CAMERAS) and all(
        camera.status.state is CameraState.LIVE and camera.status.memory.frames_seen > 4 for camera in cameras
    )
    return is_watched and sum(shard.is_up and bool(shard.slots) for shard in shards) == num_shards


def frames(cameras: list[CameraView]) -> dict[str, int]:
    return {camera.spec.name: camera.status.memory.frames_seen for camera in cameras}


def assert_whole(cameras: list[CameraView], seen: dict[str, int]) -> None:
    """Every camera has at least the frames that it had, and no gap; only a busy machine may have dropped some."""
    for camera in cameras:
        memory = camera.status.memory
        assert memory.frames_seen >= seen[camera.spec.name], camera
        assert {gap.reason for gap in memory.gaps} <= {GapReason.DROPPED}, camera


def ray_node_of(pid: int) -> str:
    """Ray's id of the node of a process, from the command line of its raylet."""
    found = [word for word in psutil.Process(pid).parents()[0].cmdline() if word.startswith("--node_id=")]
    return found[0].partition("=")[2] if found else os.environ["RAY_NODE_ID"]
