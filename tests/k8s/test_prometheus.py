"""A real Prometheus scrapes a running system: no query of the dashboard is empty, and no alert fires."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from actors import system
from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.system import System

# isort: split
import pytest
import pytest_asyncio
import yaml

from console.client import answers
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.cameras import CameraSpec, CameraState
from tests import servers
from tests.actors.waiting import until
from tests.k8s import monitoring
from tests.k8s.monitoring import RULES, needs_prometheus

pytestmark = [
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.prometheus,
    pytest.mark.slow,
    needs_prometheus,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    settings = HermesConfig(
        shards=ShardsConfig(count=2, checkpoint_every_s=1.0),
        store=f"embedded:{tmp_path_factory.mktemp('store')}",
        router=RouterConfig(port=0),
        metrics=MetricsConfig(port=0),
        cameras=(CameraSpec(name="gate", url="sim:gate"), CameraSpec(name="yard", url="sim:yard")),
    )
    async with system.running(settings) as up:

        async def are_live() -> bool:
            return all(camera.status.state is CameraState.LIVE for camera in await up.fleet.list_cameras())

        await until(are_live)
        await asyncio.to_thread(_use, up.address)
        yield up


def _use(address: str) -> None:
    """Something of everything that is counted when it happens: an answer, a refusal, a move."""
    with HermesClient(address) as hermes:
        for _ in range(3):
            answers.collect("gate", "what is in view", hermes.ask("gate", "what is in view"))
        with pytest.raises(ClientError):
            hermes.get_camera("nobody")
        hermes.migrate_camera("gate")


@pytest.fixture(scope="module")
def prometheus(running: System, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The URL of a Prometheus that has scraped the system more than once."""
    folder, port = tmp_path_factory.mktemp("prometheus"), servers.free_port()
    (folder / "prometheus.yaml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [{"job_name": "hermes", "static_configs": [{"targets": [running.metrics_address]}]}],
            }
        )
    )
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def get(url: str, path: str, **parameters: str) -> Any:
    def read() -> Any:
        with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as reply:
            return json.load(reply)["data"]

    return await asyncio.to_thread(read)


async def found(url: str, expression: str) -> bool:
    return bool((await get(url, "/api/v1/query", query=expression))["result"])


async def has_scraped(url: str) -> bool:
    try:
        return await found(url, "rate(hermes_frames_read_total[1m])") and await found(
            url, "count_over_time(hermes_leader[1m]) > 2"
        )
    except OSError:
        return False


async def test_no_query_of_the_dashboard_is_empty(prometheus: str) -> None:
    await until(partial(has_scraped, prometheus))

    assert [name for name, query in monitoring.queries().items() if not await found(prometheus, query)] == []


async def test_what_alerts_look_at_is_there_before_there_is_a_fault(prometheus: str) -> None:
    """Calls and refusals alone have a series only once they happen."""
    await until(partial(has_scraped, prometheus))
    selectors = {pair for rule in monitoring.rules() for pair in monitoring.selectors(rule["expr"])}
    eventual = {"hermes_calls_total", "hermes_refusals_total"}

    asked = [name if name in eventual else name + matchers for name, matchers in selectors]
    assert [query for query in asked if not await found(prometheus, query)] == []


async def test_no_alert_fires_while_all_is_well(prometheus: str) -> None:
    async def are_evaluated() -> bool:
        rules = [rule for group in (await get(prometheus, "/api/v1/rules"))["groups"] for rule in group["rules"]]
        return len(rules) == len(monitoring.rules()) and all(rule["health"] == "ok" for rule in rules)

    await until(are_evaluated)

    alerts = (await get(prometheus, "/api/v1/alerts"))["alerts"]
    assert [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"] == []
