"""On a real Ray cluster with fake GPUs: a camera without a slot brings a shard, which waits for a node that has what it
asks for, and fewer cameras end a shard.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from actors import detached_shards, embedded_store, system
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ScalingConfig, ShardsConfig
from actors.fleet.fleet import Fleet
from actors.fleet.views import CameraView, ShardView
from benchmarks import nodes
from cache_store.gap import GapReason
from pipeline.cameras import CameraSpec, CameraState
from pipeline.device.device_config import DeviceConfig, WhenFull
from tests.actors.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(400)]

SLOTS = 2
A100, T4 = {"ray.io/accelerator-type": "A100"}, {"ray.io/accelerator-type": "T4"}
WAITS = (
    "shard 1: waits for a node with 1 free GPU and 1 free CPU and the labels ray.io/accelerator-type=A100; the cluster "
    "has 3 nodes: 1 with 0 of 1 GPU free, 0 of 1 CPU free, ray.io/accelerator-type=A100; "
    "1 with 1 of 1 GPU free, 1 of 1 CPU free, ray.io/accelerator-type=T4; "
    "1 with no GPU, no CPU, no ray.io/accelerator-type"
)


def configuration(store_url: str, ray: str) -> HermesConfig:
    return HermesConfig(
        store=store_url,
        router=RouterConfig(port=0),
        shards=ShardsConfig(
            min=1,
            max=2,
            ray=ray,
            num_gpus=1.0,
            scaling=ScalingConfig(down_after_s=3.0, full_below=1.0),
            device=DeviceConfig(max_cameras=SLOTS, when_full=WhenFull.LOWER_RATES),
        ),
    )


async def until_fleet(fleet: Fleet, condition: Callable[[list[CameraView], list[ShardView]], bool]) -> None:
    """Waits for a condition of the cameras and the shards."""

    async def holds() -> bool:
        return condition(await fleet.list_cameras(), await fleet.list_shards())

    await until(holds)


async def listed(address: str) -> str:
    """What `hermes shards list --json` prints; a table would break the lines."""
    command = [sys.executable, "-m", "console.cli.main", "shards", "list", "--json", "--address", address]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()


async def test_a_camera_without_a_slot_brings_a_shard_that_waits_for_a_gpu_and_it_ends_when_it_is_not_needed(
    tmp_path: Path,
) -> None:
    with embedded_store.running(tmp_path) as store_url, nodes.running(0, gpus=1) as cluster:
        cluster.add(labels=A100)
        cluster.add(labels=T4)
        settings = configuration(store_url, cluster.address)
        settings = replace(settings, shards=replace(settings.shards, accelerator_type="A100"))
        async with system.running(settings) as running:
            fleet = running.fleet
            for name in ("a", "b"):
                await fleet.add_camera(CameraSpec(name=name, url="sim:street"))

            added = await fleet.add_camera(CameraSpec(name="c", url="sim:street"))

            assert added.status.state is CameraState.WAITING
            await until_fleet(fleet, lambda _, shards: [shard.detail for shard in shards[1:]] == [WAITS])
            assert WAITS in await listed(running.address)
            await until_fleet(fleet, lambda cameras, _: cameras[2].status.detail == f"no free slot yet: {WAITS}")

            cluster.add(labels=A100)
            await until_fleet(fleet, lambda cameras, _: _are_watched(cameras))
            counts = sorted(len(shard.cameras) for shard in await fleet.list_shards())
            assert counts == [1, 2]

            before = {camera.spec.name: camera.status.memory for camera in await fleet.list_cameras()}
            await fleet.remove_camera("a")
            await until_fleet(fleet, lambda _, shards: len(shards) == 1)

            cameras = await fleet.list_cameras()
            assert {camera.spec.name: camera.shard_index for camera in cameras} == {"b": 0, "c": 0}
            # Moved, not restored: the memory goes on, and nothing is missing but what a busy machine dropped.
            for camera in cameras:
                memory = camera.status.memory
                assert memory.frames_seen >= before[camera.spec.name].frames_seen
                new = set(memory.gaps) - set(before[camera.spec.name].gaps)
                assert {gap.reason for gap in new} <= {GapReason.DROPPED}


async def test_a_shard_that_no_server_knows_after_the_store_was_emptied_ends_and_its_camera_keeps_its_memory(
    tmp_path: Path,
) -> None:
    """It ran on for ever: servers that start over an empty store knew only of as many shards as their file names."""
    with embedded_store.running(tmp_path) as store_url, nodes.running(2, gpus=1) as cluster:
        settings = configuration(store_url, cluster.address)
        cameras = tuple(CameraSpec(name=name, url="sim:street") for name in ("a", "b"))
        two = replace(settings, cameras=cameras, shards=replace(settings.shards, min=2))
        async with system.running(two) as running:
            await until_fleet(running.fleet, lambda cameras, _: _are_watched(cameras) and _have_spread(cameras))
            before = {camera.spec.name: camera.status for camera in await running.fleet.list_cameras()}
        redis.Redis.from_url(store_url).flushall()

        one = replace(two, shards=replace(settings.shards, max=1, settings_version=2))
        async with system.running(one) as running:
            await until_fleet(running.fleet, lambda cameras, shards: _are_watched(cameras) and len(shards) == 1)
            after = {camera.spec.name: camera.status for camera in await running.fleet.list_cameras()}
            await until(lambda: detached_shards.num_present() == 1)

        assert {name: status.id for name, status in after.items()} == {
            name: status.id for name, status in before.items()
        }
        for name, status in after.items():
            assert status.memory.frames_seen >= before[name].memory.frames_seen
            assert status.memory.oldest_s == before[name].memory.oldest_s


def _are_watched(cameras: Sequence[CameraView]) -> bool:
    """Whether each is live and has seen something: a gap ends with the first frame of the memory, not before."""
    return all(camera.status.state is CameraState.LIVE and camera.status.memory.frames_seen for camera in cameras)


def _have_spread(cameras: Sequence[CameraView]) -> bool:
    """Whether each of both cameras is on a shard of its own."""
    return {camera.shard_index for camera in cameras} == {0, 1}
