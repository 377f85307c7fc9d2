"""The doctor joins the cluster of the configuration, and refuses one of another Ray, or without the GPUs asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors import doctor, ray_environment  # noqa: F401
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.doctor import Finding
from actors.fleet.shared_settings import RedisSettingsStore, SharedSettings
from benchmarks import nodes
from benchmarks.nodes import Nodes
from tests import servers
from tests.servers import VALKEY

# isort: split
import ray
from ray._common.usage import usage_constants
from ray._private import ray_constants
from ray._raylet import GCS_AUTOSCALER_STATE_NAMESPACE, GCS_AUTOSCALER_V2_ENABLED_KEY, GcsClient

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes.running(1) as running:
        yield running


def finding(address: str, num_gpus: float, name: str = "ray") -> Finding:
    shards = ShardsConfig(ray=address, num_gpus=num_gpus)
    settings = HermesConfig(store="redis://127.0.0.1:9/0", shards=shards)
    return next(iter(doctor.examine(settings, names=[name])))


def test_a_cluster_is_joined_and_described(cluster: Nodes) -> None:
    found = finding(cluster.address, num_gpus=0)

    assert found.is_ok, found.detail
    assert f"cluster at {cluster.address}: 2 nodes with 0 GPUs" in found.detail


def test_a_cluster_without_the_gpus_that_a_shard_asks_for_is_refused_by_key(cluster: Nodes) -> None:
    found = finding(cluster.address, num_gpus=1)

    assert not found.is_ok
    assert "shards.num_gpus is 1, but no node of the cluster at shards.ray" in found.detail
    assert "shards.num_gpus: 0" in found.detail


def test_a_cluster_that_autoscales_from_no_gpu_is_fit_and_says_what_shards_wait_for(cluster: Nodes) -> None:
    """An autoscaled cluster shows itself by a key of its control store, which is set here for the time of the test."""
    control_store = GcsClient(address=cluster.address)
    key, namespace = (text.encode() for text in (GCS_AUTOSCALER_V2_ENABLED_KEY, GCS_AUTOSCALER_STATE_NAMESPACE))
    before = control_store.internal_kv_get(key, namespace=namespace)
    control_store.internal_kv_put(key, b"1", True, namespace)
    try:
        found = finding(cluster.address, num_gpus=1)
    finally:
        control_store.internal_kv_put(key, before or b"0", True, namespace)

    assert found.is_ok, found.detail
    assert "shards.num_gpus 1 waits for its autoscaler to add a node with as many" in found.detail


@pytest.mark.redis
async def test_the_store_of_another_system_or_of_other_settings_is_refused_by_key(tmp_path: Path) -> None:
    with servers.running(VALKEY, tmp_path, appendonly="yes") as store:
        settings = HermesConfig(store=store.url, shards=ShardsConfig(ray="10.0.0.1:6379", cluster="cameras/east"))
        written = RedisSettingsStore(store.url)
        await written.agree(SharedSettings.of(settings))
        await written.close()

        async def found(**changes: object) -> Finding:
            changed = replace(settings, shards=replace(settings.shards, **changes))
            return await asyncio.to_thread(lambda: next(iter(doctor.examine(changed, names=["store"]))))

        same, other_system, other_settings = (
            await found(),
            await found(cluster="cameras/west"),
            await found(num_cpus=2.0),
        )

    assert same.is_ok, same.detail
    assert not other_system.is_ok
    assert "shards.cluster is 'cameras/west' here, and the store is that of 'cameras/east'" in other_system.detail
    assert not other_settings.is_ok
    assert "shards.num_cpus is 2.0 here" in other_settings.detail
    assert "set shards.settings_version to 2" in other_settings.detail


def test_this_machine_needs_no_gpu_for_the_shards_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    assert finding("10.0.0.1:6379", num_gpus=1, name="torch").is_ok


def test_a_cluster_of_another_ray_is_refused_with_both_versions(cluster: Nodes) -> None:
    """What the cluster says of itself is rewritten in its control store. Last, because it stays so."""
    control_store = GcsClient(address=cluster.address)
    key, namespace = usage_constants.CLUSTER_METADATA_KEY, ray_constants.KV_NAMESPACE_CLUSTER
    described = json.loads(control_store.internal_kv_get(key, namespace=namespace))
    described["ray_version"] = "2.49.1"
    control_store.internal_kv_put(key, json.dumps(described).encode(), True, namespace)

    found = finding(cluster.address, num_gpus=0)

    assert not found.is_ok
    assert f"shards.ray '{cluster.address}': the cluster runs Ray 2.49.1 on Python" in found.detail
    assert f"this process Ray {ray.__version__}" in found.detail
    assert "\n" not in found.detail
    assert not ray.is_initialized()
