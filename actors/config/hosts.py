"""Which addresses other machines can reach, and which ones name a Ray cluster."""

from __future__ import annotations

import ipaddress
import re

_CLUSTER = re.compile(r"auto|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")


def is_cluster(address: str) -> bool:
    """Whether it is the address of a running Ray cluster. Of an empty one Ray would start a cluster of its own."""
    return _CLUSTER.fullmatch(address) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server that listens on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
