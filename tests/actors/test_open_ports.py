"""Which process keeps others from listening on an address."""

from __future__ import annotations

import os
import socket

import psutil
import pytest

from actors import open_ports
from actors.open_ports import Listener
from tests.servers import free_port


@pytest.mark.parametrize(
    ("listening", "host", "is_in_the_way"),
    [
        ("127.0.0.2", "127.0.0.2", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("127.0.0.2", "localhost", False),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.2", "0.0.0.0", True),
        ("127.0.0.2", "", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.2", "::1", False),
        ("127.0.0.2", "::", True),
        ("127.0.0.2", "no.such.invalid", False),
        ("127.0.0.2", "a..b", False),
    ],
)
def test_a_process_is_found_where_its_address_is_in_the_way(listening: str, host: str, is_in_the_way: bool) -> None:
    with socket.create_server((listening, free_port())) as other:
        found = open_ports.listener_at(host, other.getsockname()[1])

    assert (found.pid if found else None) == (os.getpid() if is_in_the_way else None)


@pytest.mark.parametrize(
    ("listening", "host", "is_in_the_way"),
    [("::1", "::1", True), ("::1", "0.0.0.0", False), ("::1", "127.0.0.1", False), ("::", "127.0.0.1", True)],
)
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_one_on_an_ipv6_address_is_in_the_way_of_ipv4_only_if_it_takes_all(
    listening: str, host: str, is_in_the_way: bool
) -> None:
    with socket.create_server((listening, free_port()), family=socket.AF_INET6) as other:
        found = open_ports.listener_at(host, other.getsockname()[1])

    assert (found is not None) is is_in_the_way


def test_an_address_with_a_zone_is_that_of_a_process_which_listens_there() -> None:
    links = [one.address for found in psutil.net_if_addrs().values() for one in found if "%" in one.address]
    if not links:
        pytest.skip("no link has an IPv6 address here")
    (*_, address), *_ = socket.getaddrinfo(links[0], 0, type=socket.SOCK_STREAM)
    with socket.create_server(address, family=socket.AF_INET6) as other:
        found = open_ports.listener_at(links[0], other.getsockname()[1])

    assert found is not None


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("::", False), ("fe80::1%eth0", False)],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, is_loopback: bool) -> None:
    assert Listener(1, "server", host, 9).is_loopback is is_loopback
