"""The addresses that a server listens on: whether they are free, and what to do about one that is not.

Loads neither torch nor gRPC, so that a port in use is reported before anything slow is imported.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from actors import open_ports
from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.errors import AddressInUse
from pipeline.network.redaction import REDACTOR

ROUTER, METRICS = "router", "metrics"
_MAX_SHOWN = 80  # characters of another process's command line


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server listens. name: ROUTER or METRICS; port_key: the key or the option that sets the port."""

    name: str
    host: str
    port: int
    port_key: str

    def __str__(self) -> str:
        return joined(self.host, self.port)


def of(
    router: RouterConfig, metrics: MetricsConfig | None = None, *, port_key: str = "router.port"
) -> list[ListenAddress]:
    """The addresses of a server with these settings. port_key: what sets the port of the router."""
    addresses = [ListenAddress(ROUTER, router.host, router.port, port_key)]
    if router.health_port is not None:
        addresses.append(ListenAddress(ROUTER, router.host, router.health_port, "router.health_port"))
    if metrics is not None:
        addresses.append(ListenAddress(METRICS, metrics.host, metrics.port, "metrics.port"))
    return addresses


def require_free(addresses: Iterable[ListenAddress]) -> None:
    """Raises AddressInUse for the first address on which nothing can listen now."""
    for address in addresses:
        if (error := _failure(address)) is not None:
            raise refusal(address, error)


def refusal(address: ListenAddress, error: OSError | None = None) -> AddressInUse:
    """What to raise if a server cannot listen on the address: it names the port, its key, and the process that has it.

    error: of the system; without it, the address is tried once more to get one.
    """
    error = error or _failure(address) or OSError("the port is free, but gRPC knows no such address")
    start = f"{address.name} address {address}: cannot listen there"
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{start}: {_holder(address)}; stop it, or choose another {address.port_key}")
    if error.errno == errno.EACCES:
        why = f"{error.strerror}: ports below 1024 need privileges; choose another {address.port_key}"
        return AddressInUse(f"{start}: {why}")
    host_key = f"{address.name}.host"
    return AddressInUse(f"{start}: {error.strerror or error}; choose another {host_key}, an address of this machine")


def joined(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _failure(address: ListenAddress) -> OSError | None:
    """What keeps a server from listening there.

    A name may have several addresses. One that this machine lacks, e.g. where IPv6 is off, matters only if it has none
    of them.
    """
    try:
        host = address.host or None
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    except UnicodeError:  # an empty label, or one that is too long
        return OSError(f"{address.host!r} is no name of a host")
    tries = [_failure_at(family, at, address.name) for family, *_, at in found]
    failures = [error for error in tries if error is not None]
    grave = [error for error in failures if error.errno in (errno.EADDRINUSE, errno.EACCES)]
    return next(iter(grave or (failures if len(failures) == len(tries) else ())), None)


def _failure_at(family: int, at: tuple[Any, ...], name: str) -> OSError | None:
    # gRPC listens on :: for IPv4 too, asyncio does not.
    is_dual = name == ROUTER and at[0] == "::" and socket.has_dualstack_ipv6()
    try:
        socket.create_server(at, family=family, dualstack_ipv6=is_dual).close()
    except OSError as error:
        return error
    return None


def _holder(address: ListenAddress) -> str:
    """What has the port."""
    with suppress(psutil.Error):
        listener = open_ports.listener_at(address.host, address.port)
        if listener is not None:
            command = REDACTOR.redact(" ".join(listener.cmdline()))[:_MAX_SHOWN]
            return f"process {listener.pid} ({command}) does"
    return (
        f"another process has the port, one of another user or of another container (as root, "
        f"`ss -tanp 'sport = :{address.port}'` names it)"
    )
