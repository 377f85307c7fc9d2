"""On a real Ray cluster of labelled nodes with fake GPUs: shards run on the nodes that the configuration asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors import detached_shards, ray_cluster
from actors.config.schema import HermesConfig
from actors.config.shards import ShardPlacement, ShardsConfig
from actors.shard.ray_shard import RemoteShard
from benchmarks import nodes
from tests.actors.waiting import until

# isort: split
import ray

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

STORE = "redis://127.0.0.1:1/0"  # nothing is read from it before a camera is added
READY_S = 120.0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two nodes with room for four shards each."""
    with nodes.running(0, gpus=1) as cluster:
        cluster.add(shards=4, labels={"ray.io/accelerator-type": "T4", "zone": "a"})
        cluster.add(shards=4, labels={"ray.io/accelerator-type": "A100", "zone": "b"})
        with ray_cluster.joined(cluster.address):
            yield cluster.address


@asynccontextmanager
async def zones(address: str, count: int, **shards: Any) -> AsyncIterator[Sequence[str]]:
    """The zones of the nodes on which so many shards of this configuration run, which start one after the other."""
    settings = HermesConfig(store=STORE, shards=ShardsConfig(count=count, ray=address, num_gpus=1.0, **shards))
    started = []
    try:
        for index in range(count):
            started.append(RemoteShard(index, settings, STORE))
            await started[-1].ready(READY_S)
        zone_of = {node["NodeID"]: node["Labels"].get("zone", "") for node in ray.nodes()}
        yield [zone_of[shard.node_id] for shard in detached_shards.find()]
    finally:
        for shard in started:
            await shard.end()
        await until(lambda: not ray.util.list_named_actors())


async def test_spread_puts_each_shard_on_another_node(address: str) -> None:
    async with zones(address, 2, placement=ShardPlacement.SPREAD) as found:
        assert sorted(found) == ["a", "b"]


async def test_pack_fills_a_node_to_half_before_it_takes_another(address: str) -> None:
    async with zones(address, 3, placement=ShardPlacement.PACK) as found:
        assert found[0] == found[1] != found[2]


async def test_a_shard_that_ends_while_shards_are_listed_breaks_no_command_off(address: str) -> None:
    async with zones(address, 1):
        names = [shard.name for shard in detached_shards.find()]

    assert names == ["shard-0"]
    assert detached_shards.named("shard-0") is None


@pytest.mark.parametrize(
    ("asked", "zone"),
    [
        ({"accelerator_type": "A100"}, "b"),
        ({"accelerator_type": "T4"}, "a"),
        ({"node_labels": {"zone": "b"}}, "b"),
        ({"node_labels": {"zone": "!b"}, "accelerator_type": "T4"}, "a"),
    ],
)
async def test_a_shard_runs_on_a_node_with_the_labels_that_are_asked_for(
    address: str, asked: dict[str, Any], zone: str
) -> None:
    async with zones(address, 1, **asked) as found:
        assert found == [zone]
