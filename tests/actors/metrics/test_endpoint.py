"""The port of the metrics: one page, and nothing that a stranger sends makes it do anything else."""

from __future__ import annotations

import asyncio

import pytest

from actors.config.observability import MetricsConfig
from actors.errors import AddressInUse
from actors.metrics.endpoint import ServerMetrics
from tests.actors.metrics.scraping import exchange, measured, scrape, value
from tests.actors.scripted import ScriptedShard, scripted_fleet


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /metricss HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"405 Method Not Allowed"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n", b"200 OK"),
    ],
)
async def test_only_get_of_the_one_page_is_answered_with_metrics(request_bytes: bytes, status: bytes) -> None:
    async with measured(scripted_fleet(ScriptedShard())) as (_, metrics):
        head, _, body = (await exchange(metrics, request_bytes)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 " + status)
    assert (b"hermes_leader" in body) is request_bytes.startswith(b"GET /metrics?")


async def test_a_head_without_end_is_cut_off_and_harms_nobody() -> None:
    async with measured(scripted_fleet(ScriptedShard())) as (_, metrics):
        assert await exchange(metrics, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 10_000) == b""
        assert "hermes_leader" in await scrape(metrics)


async def test_connections_are_bounded_and_free_again_when_they_end() -> None:
    async with measured(scripted_fleet(ScriptedShard())) as (_, metrics):
        host, _, port = metrics.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(16)]
        assert await exchange(metrics, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
        for _, writer in silent:
            writer.close()
        while not await exchange(metrics, b"GET /metrics HTTP/1.1\r\n\r\n"):
            pass


async def test_a_port_that_is_taken_is_named() -> None:
    async with measured(scripted_fleet(ScriptedShard())) as (_, metrics):
        second = ServerMetrics(MetricsConfig(port=int(metrics.rpartition(":")[2])))
        with pytest.raises(AddressInUse, match=rf"metrics address {metrics}: .*another metrics.port"):
            await second.start(lambda: None)


async def test_a_server_that_starts_says_that_it_is_not_ready() -> None:
    async with measured(None) as (_, metrics):
        text = await scrape(metrics)

    assert value(text, "hermes_ready") == value(text, "hermes_leader") == 0


async def test_without_a_setting_nothing_listens() -> None:
    metrics = ServerMetrics()
    await metrics.start(lambda: None)
    await metrics.stop()

    assert metrics.address is None
