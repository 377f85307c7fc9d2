"""A local Ray listens on this machine only and refuses calls without the token."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from actors import open_ports, ray_cluster
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.errors import ConfigError, RayNotStarted
from actors.open_ports import Listener
from actors.shard.ray_shard import RemoteShard

# isort: split
import grpc
import psutil
import pytest
import ray

pytestmark = pytest.mark.ray

START_S = 120.0  # of a process of Ray on a busy machine


@ray.remote(num_cpus=0)
class Worker:
    """Makes Ray start a process, as it does for a shard."""

    async def ping(self) -> str:
        return "pong"


@pytest.fixture(scope="module")
def router_port() -> Iterator[int]:
    """A port for other machines, open before Ray starts, as that of a router with `router.host: 0.0.0.0` is."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def running(router_port: int) -> Iterator[None]:
    with ray_cluster.running(num_cpus=1, num_gpus=0):
        assert ray.get(Worker.remote().ping.remote(), timeout=START_S) == "pong"
        yield


def test_only_the_router_listens_beyond_this_machine(running: None, router_port: int) -> None:
    found = open_ports.listeners(psutil.Process())

    assert any("raylet" in one.command for one in found)
    assert any("gcs_server" in one.command for one in found)
    assert [one.port for one in found if not one.is_loopback] == [router_port]


def test_a_call_without_the_token_is_refused(running: None) -> None:
    with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as channel:
        nodes = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
        with pytest.raises(grpc.RpcError) as caught:
            nodes(b"", timeout=START_S)

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_second_ray_in_one_process_is_refused(running: None) -> None:
    for second in (ray_cluster.running(num_cpus=1, num_gpus=0), ray_cluster.joined("auto")):
        with pytest.raises(RayNotStarted, match="already runs in this process"):
            second.__enter__()

    assert ray.is_initialized()


async def test_a_shard_of_another_version_is_refused(running: None) -> None:
    other = Worker.options(name="shard-0", lifetime="detached").remote()
    settings = HermesConfig(shards=ShardsConfig(ray="auto"), store="redis://127.0.0.1:9")
    try:
        with pytest.raises(ConfigError, match="shard 0: it runs in this cluster already, from another version"):
            await RemoteShard(0, settings, settings.store).ready(START_S)
    finally:
        ray.kill(other)


def test_loopback_addresses_are_recognised() -> None:
    def is_loopback(host: str) -> bool:
        return Listener(1, "x", host, 80).is_loopback

    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.2", "::ffff:192.0.2.2")))
