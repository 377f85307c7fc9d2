"""Finds the ports on which a process and its descendants listen."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import psutil


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
        address = ipaddress.ip_address(self.host)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


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
    for connection in psutil.net_connections(kind="tcp"):
        address = connection.laddr
        if connection.status != psutil.CONN_LISTEN or not connection.pid or not address:
            continue
        if address.port == port and _overlap(address.ip, host):
            return psutil.Process(connection.pid)
    return None


def _overlap(one: str, other: str) -> bool:
    """Whether two hosts of listeners share an address; a name may be any."""
    try:
        first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    except ValueError:
        return True
    return first == second or first.is_unspecified or second.is_unspecified
