"""Places for calls: in total, of one peer, and who a peer is."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from actors.errors import TooManyCalls
from actors.server import call_limits
from actors.server.call_limits import CallLimiter


def limiter() -> CallLimiter:
    return CallLimiter("calls", limit=3, limit_per_peer=2, setting="router.max_concurrent_calls")


def test_one_peer_leaves_places_to_the_others() -> None:
    calls = limiter()
    with ExitStack() as running:
        running.enter_context(calls.admit("a"))
        running.enter_context(calls.admit("a"))
        with pytest.raises(
            TooManyCalls, match=r"2 calls of a run already \(limit 2, router.max_concurrent_calls_per_peer\)"
        ):
            calls.admit("a").__enter__()
        running.enter_context(calls.admit("b"))
        with pytest.raises(TooManyCalls, match=r"3 calls run already \(limit 3, router.max_concurrent_calls\)"):
            calls.admit("c").__enter__()


def test_a_call_that_ends_leaves_its_place_whether_or_not_it_failed() -> None:
    calls = limiter()
    for _ in range(10):
        with pytest.raises(KeyError), calls.admit("a"):
            raise KeyError
    with calls.admit("a"), calls.admit("a"), calls.admit("b"):
        pass


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("ipv4:192.0.2.7:50132", "192.0.2.7"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:1234", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:1234", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1234", "fe80::/64"),
        ("ipv6:[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ("unix:", "unix"),
        ("odd", "odd"),
    ],
)
def test_a_peer_is_a_host_whatever_its_port_and_an_ipv6_network_is_one_host(peer: str, name: str) -> None:
    assert call_limits.peer_name(peer) == name
