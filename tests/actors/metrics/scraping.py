"""Servers with metrics in front of scripted shards, and what a scrape of them finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.config.tls import TlsConfig
from actors.fleet.fleet import Fleet
from actors.metrics.endpoint import ServerMetrics
from actors.server.server import Router
from actors.server.startup import Startup


@asynccontextmanager
async def measured(
    fleet: Fleet | None, *, token: str | None = None, per_camera: bool = False, tls: TlsConfig | None = None
) -> AsyncIterator[tuple[str, str]]:
    """Runs a server of the fleet, None while it starts; yields its address and that of its metrics."""
    metrics = ServerMetrics(MetricsConfig(port=0, per_camera=per_camera), model="tiny")
    router = Router(Startup(fleet), RouterConfig(port=0, tls=tls), token, metrics)
    address = await router.start()
    try:
        assert metrics.address is not None
        yield address, metrics.address
    finally:
        await router.stop()


async def exchange(address: str, request: bytes) -> bytes:
    """Everything that the address answers to these bytes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionError:  # closed before it was read to its end
        return b""
    finally:
        writer.close()


async def scrape(address: str) -> str:
    """The metrics as text."""
    head, _, body = (await exchange(address, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    return body.decode()


def samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


def value(text: str, name: str, **labels: str) -> float:
    """The value of the one series of this name with these labels."""
    found = [one.value for one in samples(text) if one.name == name and labels.items() <= one.labels.items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]
