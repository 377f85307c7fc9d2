"""Which server is on this machine, and which proxy of the environment stands before another one."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")  # in gRPC's order


def is_loopback(address: str) -> bool:
    """Whether the server at HOST:PORT is on this machine."""
    if address.startswith("unix:"):
        return True
    host = host_of(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(address: str) -> str:
    """The host of HOST:PORT."""
    return address.rpartition(":")[0].strip("[]")


def proxy_of(address: str) -> str:
    """The proxy between this client and the server, as the environment names it; "" without one."""
    if is_loopback(address) or proxy_bypass(host_of(address)):
        return ""
    name = next((name for name in _VARIABLES if os.environ.get(name)), None)
    return "" if name is None else f"{name}={urlsplit(os.environ[name]).netloc.rpartition('@')[2]}"
