"""The port of the metrics: one page, and nothing that a stranger sends makes it do anything else."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from actors import development_ca
from actors.config.observability import MetricsConfig
from actors.config.tls import TlsConfig
from actors.errors import AddressInUse
from actors.metrics import definitions
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


def end_of(certificate: Path) -> float:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()


async def test_the_end_of_the_certificate_in_use_is_reported_also_after_a_reload(tmp_path: Path) -> None:
    files, expiry = development_ca.make(tmp_path), definitions.CERTIFICATE_EXPIRY[0]
    certificate = files.certificate("server")
    tls, lasting = TlsConfig(certificate=certificate, key=files.key("server")), end_of(certificate)
    async with measured(scripted_fleet(ScriptedShard()), tls=tls) as (address, metrics):
        assert value(await scrape(metrics), expiry) == lasting
        development_ca.make(tmp_path, days=1)
        assert value(await scrape(metrics), expiry) == lasting  # no connection came since
        await asyncio.to_thread(ssl.get_server_certificate, tuple(address.split(":")))
        assert value(await scrape(metrics), expiry) == end_of(certificate) < lasting


async def test_of_a_chain_the_certificate_that_ends_first_counts_and_without_tls_there_is_none(tmp_path: Path) -> None:
    files, other = development_ca.make(tmp_path / "server"), development_ca.make(tmp_path / "other", days=1)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(files.certificate("server").read_bytes() + other.certificate("server").read_bytes())
    tls = TlsConfig(certificate=chain, key=files.key("server"))
    async with measured(scripted_fleet(ScriptedShard()), tls=tls) as (_, metrics):
        assert value(await scrape(metrics), definitions.CERTIFICATE_EXPIRY[0]) == end_of(other.certificate("server"))
    async with measured(scripted_fleet(ScriptedShard())) as (_, metrics):
        assert "hermes_certificate" not in await scrape(metrics)
