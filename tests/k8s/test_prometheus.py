"""A real Prometheus scrapes a running system: no query of the dashboard is empty, and no alert fires."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from actors import development_ca, system
from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.config.tls import TlsConfig
from actors.system import System

# isort: split
import pytest
import pytest_asyncio

from console.client import answers
from console.client.channel import TlsFiles
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.cameras import CameraSpec, CameraState
from tests.actors.waiting import until
from tests.k8s import monitoring, prometheus_server
from tests.k8s.monitoring import RULES, needs_prometheus
from tests.k8s.prometheus_server import Prometheus

pytestmark = [
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.prometheus,
    pytest.mark.slow,
    needs_prometheus,
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(frozen=True)
class Running:
    """A system with TLS, and what makes a client of it."""

    system: System
    connect: Callable[[], HermesClient]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    files = development_ca.make(tmp_path_factory.mktemp("certs"))
    settings = HermesConfig(
        shards=ShardsConfig(count=2, checkpoint_every_s=1.0),
        store=f"embedded:{tmp_path_factory.mktemp('store')}",
        router=RouterConfig(port=0, tls=TlsConfig(certificate=files.certificate("server"), key=files.key("server"))),
        metrics=MetricsConfig(port=0),
        cameras=(CameraSpec(name="gate", url="sim:gate"), CameraSpec(name="yard", url="sim:yard")),
    )
    async with system.running(settings) as up:

        async def are_live() -> bool:
            return all(camera.status.state is CameraState.LIVE for camera in await up.fleet.list_cameras())

        await until(are_live)
        connect = partial(HermesClient, up.address, tls=TlsFiles(ca=files.certificate("ca")))
        await asyncio.to_thread(_use, connect)
        yield Running(up, connect)


def _use(connect: Callable[[], HermesClient]) -> None:
    """Something of everything that is counted when it happens: an answer, a refusal, a move."""
    with connect() as hermes:
        for _ in range(3):
            answers.collect("gate", "what is in view", hermes.ask("gate", "what is in view"))
        with pytest.raises(ClientError):
            hermes.get_camera("nobody")
        hermes.migrate_camera("gate")


@pytest.fixture(scope="module")
def prometheus(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    address = running.system.metrics_address
    assert address is not None
    with prometheus_server.running(tmp_path_factory.mktemp("prometheus"), address, RULES) as up:
        yield up


async def test_every_query_of_the_dashboard_is_a_number(running: Running, prometheus: Prometheus) -> None:
    """Once there was a question and a move between two scrapes: a quantile of nothing is not a number."""
    await until(prometheus.has_scraped)
    await asyncio.to_thread(_use, running.connect)
    missing: list[str] = []

    async def are_numbers() -> bool:
        queries = monitoring.queries().items()
        missing[:] = [name for name, query in queries if not await prometheus.has_numbers(query)]
        return not missing

    with contextlib.suppress(TimeoutError):
        await until(are_numbers, 30.0)

    assert missing == []


async def test_what_alerts_look_at_is_there_before_there_is_a_fault(prometheus: Prometheus) -> None:
    """Calls that end with other errors than INTERNAL alone have a series only once they happen."""
    await until(prometheus.has_scraped)
    selectors = {pair for rule in monitoring.rules() for pair in monitoring.selectors(rule["expr"])}

    asked = [name + matchers for name, matchers in selectors]
    assert [query for query in asked if not await prometheus.values(query)] == []


async def test_no_alert_fires_while_all_is_well(prometheus: Prometheus) -> None:
    async def are_evaluated() -> bool:
        rules = [rule for group in (await prometheus.get("/api/v1/rules"))["groups"] for rule in group["rules"]]
        return len(rules) == len(monitoring.rules()) and all(rule["health"] == "ok" for rule in rules)

    await until(are_evaluated)

    assert await prometheus.firing() == set()
