"""The gRPC server: services, token check, health and reflection on one address, and health alone on another one."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from actors import listen_addresses
from actors.config.router_config import RouterConfig
from actors.listen_addresses import ListenAddress
from actors.metrics.endpoint import ServerMetrics
from actors.server import status_codes, tls
from actors.server.call_guard import CallGuard
from actors.server.services import CameraService, FleetService, QueryService
from actors.server.startup import Startup
from actors.tracing.tracer import NoTracer, Tracer
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())
_METHODS = tuple(
    f"{service.full_name}/{method.name}"
    for service in pb.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
# Names of the health service. The empty name, which probes ask for by default, is readiness.
LIVE, READY = "live", ("ready", "", *SERVICES)
_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
_HEALTH_EVERY_S = 1.0
_LAST_MESSAGES_S = 1.0  # for what was just written to reach its client


class Router:
    """The server of one fleet. With a token, every call but health checks must carry it.

    Until the fleet is there, every call but health checks and reflection is refused and says what the server waits for.
    Raises ConfigError if a file of router.tls cannot be used.
    """

    def __init__(
        self,
        startup: Startup,
        settings: RouterConfig,
        token: str | None,
        metrics: ServerMetrics | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._metrics = metrics or ServerMetrics()
        calls = self._metrics.calls
        calls.expect(_METHODS, status_codes.REASONS)
        self._tracer = tracer or NoTracer()
        self._startup = startup
        self._settings = settings
        show = self._metrics.show_certificate
        self._credentials = None if settings.tls is None else tls.server_credentials(settings.tls, show)
        self._guard = CallGuard(settings, token, calls)
        self._health = health_aio.HealthServicer()
        self.health_address: str | None = None  # of the listener that serves health alone
        self._is_stopping = False
        self._server = _server(self._guard)
        queries, cameras = QueryService(startup, settings.write_timeout_s, calls, self._tracer), CameraService(startup)
        pb_grpc.add_QueryServiceServicer_to_server(queries, self._server)  # type: ignore[no-untyped-call]
        pb_grpc.add_CameraServiceServicer_to_server(cameras, self._server)  # type: ignore[no-untyped-call]
        pb_grpc.add_FleetServiceServicer_to_server(FleetService(startup), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflected = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(reflected, self._server)
        # It says of this process that it serves or not, and of the fleet nothing: no token and no TLS are needed.
        self._probed = _server(CallGuard(settings, None, calls))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probed)

    async def start(self) -> str:
        """Listens, with health `live` and not yet `ready`; returns HOST:PORT. Raises AddressInUse."""
        await self._health.set(LIVE, _SERVING)
        await self._report_readiness()
        address = _listen(self._server, self._settings, "port", self._credentials)
        if self._settings.health_port is not None:
            self.health_address = _listen(self._probed, self._settings, "health_port", None)
            await self._probed.start()
        await self._server.start()
        await self._metrics.start(lambda: self._startup.figures)
        return address

    async def report_health(self, every_s: float = _HEALTH_EVERY_S) -> None:
        """Reports at intervals whether questions can be routed, until cancelled."""
        while True:
            await self._report_readiness()
            await asyncio.sleep(every_s)

    async def stop(self) -> None:
        """Is not ready from now on, so that clients turn to another server. Ends once no call runs, or after a grace
        period (router.grace_s): then it ends the calls that still run.
        """
        self._is_stopping = True
        await self._report_readiness()
        await self._guard.until_idle(self._settings.grace_s)
        # Whoever watches the health of this server never ends its call.
        await self._server.stop(_LAST_MESSAGES_S)
        await self._probed.stop(0)
        await self._metrics.stop()
        await asyncio.to_thread(self._tracer.close)

    async def _report_readiness(self) -> None:
        status = _SERVING if self._startup.is_ready and not self._is_stopping else _NOT_SERVING
        for service in READY:
            await self._health.set(service, status)


def _server(guard: CallGuard) -> grpc.aio.Server:
    # With SO_REUSEPORT a second router could share the port, and each call would go to one of the two.
    return grpc.aio.server(interceptors=[guard], options=[("grpc.so_reuseport", 0)])


def _listen(
    server: grpc.aio.Server, settings: RouterConfig, port_key: str, credentials: grpc.ServerCredentials | None
) -> str:
    """Makes the server listen; returns HOST:PORT. Raises AddressInUse."""
    address = ListenAddress(listen_addresses.ROUTER, settings.host, getattr(settings, port_key), f"router.{port_key}")
    try:
        if credentials is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), credentials)
    except RuntimeError as error:
        raise listen_addresses.refusal(address) from error
    return listen_addresses.joined(settings.host, port)
