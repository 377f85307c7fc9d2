"""Under Ray's own autoscaler: a camera beyond room brings a shard, the shard a node, and both go with the camera."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import embedded_store, ray_cluster, system
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ScalingConfig, ShardsConfig
from actors.fleet.fleet import Fleet
from pipeline.cameras import CameraSpec, CameraState
from pipeline.device.device_config import DeviceConfig, WhenFull
from tests.actors import autoscaled_cluster
from tests.actors.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(400)]

SLOTS = 2


@pytest.fixture
def address() -> Iterator[str]:
    # Not below tmp_path: the paths of Ray's sockets would be too long.
    with (
        tempfile.TemporaryDirectory(prefix="hermes-") as folder,
        autoscaled_cluster.running(Path(folder), most=2) as address,
    ):
        yield address


async def states(fleet: Fleet) -> list[CameraState]:
    return [camera.status.state for camera in await fleet.list_cameras()]


def gpus() -> float:
    return sum(ray_cluster.gpus_of_nodes())


async def test_a_camera_beyond_room_brings_a_node_that_goes_when_the_camera_is_removed(
    address: str, tmp_path: Path
) -> None:
    with embedded_store.running(tmp_path) as store_url:
        settings = HermesConfig(
            store=store_url,
            router=RouterConfig(port=0),
            shards=ShardsConfig(
                min=1,
                max=2,
                ray=address,
                num_gpus=1.0,
                scaling=ScalingConfig(down_after_s=3.0, full_below=1.0),
                device=DeviceConfig(max_cameras=SLOTS, when_full=WhenFull.LOWER_RATES),
            ),
        )
        # The head has no GPU: the first shard waits for a node too.
        async with system.running(settings) as running:
            fleet = running.fleet
            assert ray_cluster.has_autoscaler()
            for name in ("a", "b"):
                await fleet.add_camera(CameraSpec(name=name, url="sim:street"))
            assert gpus() == 1

            added = await fleet.add_camera(CameraSpec(name="c", url="sim:street"))
            assert added.status.state is CameraState.WAITING

            async def all_are_live() -> bool:
                return await states(fleet) == [CameraState.LIVE] * 3

            await until(all_are_live)
            assert gpus() == 2

            await fleet.remove_camera("c")
            await until(lambda: gpus() == 1)
            assert await states(fleet) == [CameraState.LIVE] * 2
            assert [shard.index for shard in await fleet.list_shards()] == [0]
