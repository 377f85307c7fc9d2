"""Finds the ports on which a process and its descendants listen."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import psutil

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Listener:
    """A port on which a process listens."""

    pid: int
    command: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return _address(self.host).is_loopback


def listeners(root: psutil.Process) -> list[Listener]:
    """Every TCP port on which `root` or a descendant listens."""
    found = []
    for process in [root, *root.children(recursive=True)]:
        try:
            command = " ".join(process.cmdline())[:120]
            connections = process.net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            continue
        listening = [c for c in connections if c.status == psutil.CONN_LISTEN]
        found += [Listener(process.pid, command, c.laddr.ip, c.laddr.port) for c in listening]
    return found


def listener_at(host: str, port: int) -> psutil.Process | None:
    """A process of this user whose port keeps others from listening on HOST:PORT; None if none is seen."""
    addresses = _addresses(host)
    for connection in psutil.net_connections(kind="tcp"):
        at = connection.laddr
        if connection.status != psutil.CONN_LISTEN or not connection.pid or not at or at.port != port:
            continue
        if any(_overlap(_address(at.ip), address) for address in addresses):
            return psutil.Process(connection.pid)
    return None


def _addresses(host: str) -> list[_Address]:
    """Those of a name or a number; none of a name that is not known."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return []
    return [_address(str(socket_address[0])) for *_, socket_address in found]


def _address(text: str) -> _Address:
    """Servers for both families, such as gRPC's, listen on 127.0.0.1 as ::ffff:127.0.0.1."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _overlap(first: _Address, second: _Address) -> bool:
    """Whether two listeners share an address. One on :: may listen for IPv4 too."""
    if first.version != second.version:
        return (first if first.version == 6 else second).is_unspecified
    return first == second or first.is_unspecified or second.is_unspecified
