"""How many calls run at once, in total and of one peer. Knows no gRPC."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from actors.errors import TooManyCalls

_IPV6_PREFIX = 64  # one host has as many addresses as it likes in a network of this size


class CallLimiter:
    """Limits the calls of one kind that run at once. Each kind has its own limiter, so none takes up another's places.

    kind: names the calls in messages. setting: what raises the limits, if anything does.
    """

    def __init__(self, kind: str, *, limit: int, limit_per_peer: int, setting: str = "") -> None:
        self._kind, self._setting = kind, setting
        self._limit, self._limit_per_peer = limit, limit_per_peer
        self._running: Counter[str] = Counter()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @contextmanager
    def admit(self, peer: str) -> Iterator[None]:
        """Counts a call of the peer while it runs in this block. Raises TooManyCalls."""
        self._require(self._running[peer], self._limit_per_peer, f"of {peer} ", "_per_peer")
        self._require(self._running.total(), self._limit, "", "")
        self._running[peer] += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._running[peer] -= 1
            self._running = +self._running
            if not self._running:
                self._is_idle.set()

    async def until_idle(self) -> None:
        """Returns once no call runs."""
        await self._is_idle.wait()

    def _require(self, running: int, limit: int, whose: str, suffix: str) -> None:
        if running >= limit:
            source = f", {self._setting}{suffix}" if self._setting else ""
            raise TooManyCalls(f"{running} {self._kind} {whose}run already (limit {limit}{source}); try again")


def peer_name(peer: str) -> str:
    """The host of a peer as gRPC writes it: ipv4:HOST:PORT, ipv6:[HOST]:PORT, or a Unix socket."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind
    try:
        address = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return kind
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)
