"""The gRPC server: services, token check, health and reflection on one address."""

from __future__ import annotations

import asyncio
import socket

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from actors.config.router_config import RouterConfig
from actors.errors import AddressInUse
from actors.fleet.fleet import Fleet
from actors.server import tls
from actors.server.call_guard import CallGuard
from actors.server.services import CameraService, FleetService, QueryService
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())
_HEALTH_EVERY_S = 1.0
_STOP_GRACE_S = 2.0


class Router:
    """The server of one fleet. With a token, every call but health checks must carry it.

    Raises ConfigError if a file of router.tls cannot be used.
    """

    def __init__(self, fleet: Fleet, settings: RouterConfig, token: str | None) -> None:
        self._fleet = fleet
        self._settings = settings
        self._credentials = None if settings.tls is None else tls.server_credentials(settings.tls)
        self._server = grpc.aio.server(
            interceptors=[CallGuard(settings, token)],
            # With SO_REUSEPORT a second router could share the port, and each call would go to one of the two.
            options=[("grpc.so_reuseport", 0)],
        )
        self._health = health_aio.HealthServicer()
        queries, cameras = QueryService(fleet, settings.write_timeout_s), CameraService(fleet)
        pb_grpc.add_QueryServiceServicer_to_server(queries, self._server)  # type: ignore[no-untyped-call]
        pb_grpc.add_CameraServiceServicer_to_server(cameras, self._server)  # type: ignore[no-untyped-call]
        pb_grpc.add_FleetServiceServicer_to_server(FleetService(fleet), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflected = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(reflected, self._server)
        self._probes = self._server_of_probes()
        self.health_address: str | None = None

    def _server_of_probes(self) -> grpc.aio.Server | None:
        """The server of router.health_port. Its probes are counted apart from the health checks of the main port."""
        if self._settings.health_port is None:
            return None
        server = grpc.aio.server(interceptors=[CallGuard(self._settings, None)], options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    async def start(self) -> str:
        """Listens; returns HOST:PORT. With router.health_port it sets `health_address` too. Raises AddressInUse."""
        settings = self._settings
        port = _listen(self._server, settings.host, settings.port, "router.port", self._credentials)
        await self._server.start()
        if self._probes is not None and settings.health_port is not None:
            health_port = _listen(self._probes, settings.host, settings.health_port, "router.health_port", None)
            await self._probes.start()
            self.health_address = _joined(settings.host, health_port)
        return _joined(settings.host, port)

    async def report_health(self, every_s: float = _HEALTH_EVERY_S) -> None:
        """Sets the health of every service at intervals, until cancelled: serving while at least one shard answers."""
        while True:
            status = health_pb2.HealthCheckResponse
            for service in SERVICES:
                await self._health.set(service, status.SERVING if self._fleet.is_up else status.NOT_SERVING)
            await asyncio.sleep(every_s)

    async def stop(self) -> None:
        """Refuses new calls, gives running calls 2 s to end, then ends them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_STOP_GRACE_S)
        if self._probes is not None:
            await self._probes.stop(None)


def require_free(settings: RouterConfig) -> None:
    """Checks, before slow parts of the system start, that the router can listen. Raises AddressInUse, ConfigError."""
    if settings.tls is not None:
        tls.server_credentials(settings.tls)
    for port in (settings.port, settings.health_port):
        if port is None:
            continue
        try:
            socket.create_server((settings.host, port), family=_family(settings.host)).close()
        except OSError as error:
            address = _joined(settings.host, port)
            raise AddressInUse(f"router address {address}: cannot listen there: {error.strerror or error}") from error


def _listen(server: grpc.aio.Server, host: str, port: int, key: str, credentials: grpc.ServerCredentials | None) -> int:
    """Binds the server to host and port; returns the port. key: where the port is configured. Raises AddressInUse."""
    address = _joined(host, port)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise AddressInUse(
            f"router address {address}: cannot listen there, another process may use it; choose another {key}"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
