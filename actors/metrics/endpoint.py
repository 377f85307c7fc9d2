"""GET /metrics over HTTP, and nothing else: bounded in size, time and number of connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

from prometheus_client import Gauge, Info, ProcessCollector, exposition

from actors import generation, listen_addresses
from actors.config.observability import MetricsConfig
from actors.fleet.figures import FleetFigures
from actors.listen_addresses import ListenAddress
from actors.metrics import definitions
from actors.metrics.call_metrics import CallMetrics
from actors.metrics.fleet_collector import FleetCollector

_MAX_CONNECTIONS = 16
_MAX_HEAD_NBYTES = 8_192
_TIMEOUT_S = 5.0


class ServerMetrics:
    """The metrics of one server, and the port where they are read: none without settings. One event loop owns it.

    calls: what counts its calls. address: HOST:PORT while metrics are served.
    """

    def __init__(self, settings: MetricsConfig | None = None, *, model: str = "") -> None:
        self.calls = CallMetrics()
        self.address: str | None = None
        self._settings = settings
        self._model = model
        self._certificate = Gauge(*definitions.CERTIFICATE_EXPIRY, registry=None)
        self._has_certificate = False
        self._connections: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    def show_certificate(self, valid_until: datetime) -> None:
        """Reports when the server's certificate ends: the first before `start`, later ones in any thread."""
        self._certificate.set(valid_until.timestamp())
        self._has_certificate = True

    async def start(self, figures: Callable[[], FleetFigures | None]) -> None:
        """Listens. figures: the fleet of now, None before there is one. Raises AddressInUse."""
        if self._settings is None:
            return
        host, port = self._settings.host, self._settings.port
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=_MAX_HEAD_NBYTES)
        except OSError as error:
            address = ListenAddress(listen_addresses.METRICS, host, port, "metrics.port")
            raise listen_addresses.refusal(address, error) from error
        registry = self.calls.registry
        registry.register(FleetCollector(figures, per_camera=self._settings.per_camera))
        if self._has_certificate:
            registry.register(self._certificate)
        ProcessCollector(registry=registry)
        info = Info("hermes_build", "What runs here, as labels.", registry=registry)
        info.info({"version": generation.build(), "model": self._model})
        bound = self._server.sockets[0].getsockname()
        self.address = listen_addresses.joined(bound[0], bound[1])

    async def stop(self) -> None:
        """Stops listening, and ends the connections that are open."""
        if self._server is not None:
            self._server.close()
        tasks = [task for task in self._connections if task is not None]
        for writer in self._connections.values():
            writer.close()
        if tasks:
            await asyncio.wait(tasks, timeout=_TIMEOUT_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.current_task()
        self._connections[task] = writer
        try:
            # Whoever is slow, says too much or breaks off gets no answer.
            with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_TIMEOUT_S):
                    writer.write(self._reply(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        finally:
            del self._connections[task]
            writer.close()

    def _reply(self, head: bytes) -> bytes:
        request, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", b"GET or HEAD\n", allow="GET, HEAD")
        if rest.partition(" ")[0].partition("?")[0] != "/metrics":
            return _response("404 Not Found", b"/metrics\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        encode, content_type = exposition.choose_encoder(headers.get("accept", ""))
        reply = _response("200 OK", encode(self.calls.registry), content_type)
        return reply if method == "GET" else reply[: reply.index(b"\r\n\r\n") + 4]


def _response(status: str, body: bytes, content_type: str = "text/plain; charset=utf-8", *, allow: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Connection: close"]
    if allow:
        lines.append(f"Allow: {allow}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
