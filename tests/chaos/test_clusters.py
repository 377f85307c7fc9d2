"""Seeded faults on a real Ray cluster with a real store: processes, nodes, raylets, servers and the store fail or hang,
while clients add, change, move and remove cameras."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors import embedded_store, ray_cluster
from actors.config import loading
from benchmarks import nodes
from tests.chaos import cluster_servers, report
from tests.chaos.cluster_faults import FAULTS, OPERATIONS, kill_node, restart_server
from tests.chaos.cluster_servers import Cameras
from tests.chaos.cluster_world import ADDED, CONFIGURED, PERMANENT, SHARDS, Environment, World, configured
from tests.pipeline import servers
from tests.pipeline.footage import jpeg

SCHEDULES = int(os.environ.get("HERMES_CHAOS_CLUSTER_SCHEDULES", "1"))
IS_SHORT = "HERMES_CHAOS_CLUSTER_SCHEDULES" not in os.environ  # `make test` has two faults; `make chaos` has them all
HISTORIES = Path(os.environ.get("HERMES_CHAOS_HISTORIES", ".chaos"))
FAULTS_PER_SCHEDULE = 3

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    folder = tmp_path_factory.mktemp("store")
    HISTORIES.mkdir(exist_ok=True)
    cameras = Cameras(1, tuple(map(configured, CONFIGURED)))
    with (
        embedded_store.running(folder) as store_url,
        servers.mjpeg_server((jpeg(1), jpeg(2)), 0.2) as camera,
        nodes.running(SHARDS + 1) as cluster,
        ray_cluster.joined(cluster.address),
    ):
        settings = cluster_servers.settings_of(cluster, store_url, shards=SHARDS, slots=len(CONFIGURED) + len(ADDED))
        with cluster_servers.running(HISTORIES, settings, cameras) as running:
            yield Environment(
                cluster, running, loading.load_config(HISTORIES / "server-0.yaml"), camera.rpartition("/")[0]
            )


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_whatever_fails_every_camera_comes_back_and_nothing_committed_is_lost(
    seed: int, environment: Environment, record_property: Callable[[str, object], None]
) -> None:
    world = World(seed, environment)
    faults = (kill_node, restart_server) if IS_SHORT else world.rng.choices(FAULTS, k=FAULTS_PER_SCHEDULE)

    problems = await world.run(faults, OPERATIONS)

    record_property(*report.properties(report.CLUSTER, world.history, [step.__name__ for step in OPERATIONS]))
    if problems:
        file, logs = world.history.save(HISTORIES), environment.servers.logs()
        raise AssertionError(f"seed {seed}, see {file} and {logs}: {problems[:5]}")
    assert {event.name for event in world.history.events if event.kind == "answer"} >= set(PERMANENT)
