"""A port in use is reported with its key, the process that has it, and what to do."""

from __future__ import annotations

import errno
import os
import socket

import psutil
import pytest

from actors import listen_addresses
from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.errors import AddressInUse
from actors.listen_addresses import METRICS, ROUTER, ListenAddress
from tests.servers import free_port

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
NOT_OURS = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
OURS = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))


def test_each_port_of_a_server_has_the_key_that_sets_it() -> None:
    router = RouterConfig(port=1, health_port=2)

    addresses = listen_addresses.of(router, MetricsConfig(port=3))
    demo = listen_addresses.of(RouterConfig(port=1), port_key="--port")

    assert {one.port: one.port_key for one in addresses} == {
        1: "router.port",
        2: "router.health_port",
        3: "metrics.port",
    }
    assert [one.port_key for one in demo] == ["--port"]


def test_a_free_address_passes_as_often_as_it_is_tried() -> None:
    addresses = listen_addresses.of(RouterConfig(port=0))

    listen_addresses.require_free(addresses)
    listen_addresses.require_free(addresses)


@pytest.mark.parametrize(("host", "listening"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", ""), ("localhost", "")])
def test_the_process_that_has_the_port_is_named(host: str, listening: str) -> None:
    with socket.create_server((listening, 0)) as other:
        address = ListenAddress("router", host, other.getsockname()[1], "router.port")
        with pytest.raises(AddressInUse) as caught:
            listen_addresses.require_free([address])

    start = f"router address {host}:{address.port}: cannot listen there: process {os.getpid()} ("
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(") does; stop it, or choose another router.port")


def test_a_process_at_another_address_with_the_same_port_is_not_blamed() -> None:
    with socket.create_server(("127.0.0.2", free_port())) as other:
        address = ListenAddress("router", "127.0.0.1", other.getsockname()[1], "router.port")

        listen_addresses.require_free([address])
        message = str(listen_addresses.refusal(address, OSError(errno.EADDRINUSE, "")))

    assert "process " + str(os.getpid()) not in message
    assert "another process has the port, one of another user" in message


@pytest.mark.parametrize("error", [psutil.AccessDenied(), psutil.NoSuchProcess(1)])
def test_a_process_that_cannot_be_seen_is_left_to_a_command(
    error: psutil.Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(kind: str) -> None:
        raise error

    monkeypatch.setattr(psutil, "net_connections", fail)
    message = str(listen_addresses.refusal(ListenAddress("metrics", "127.0.0.1", 9, "metrics.port"), OSError(98, "")))

    assert "`ss -tanp 'sport = :9'` names it" in message
    assert message.endswith("stop it, or choose another metrics.port")


def test_an_address_of_another_machine_is_refused_with_the_key_of_the_host() -> None:
    with pytest.raises(AddressInUse, match=r"router address 192\.0\.2\.1:0: .*choose another router\.host"):
        listen_addresses.require_free(listen_addresses.of(RouterConfig(host="192.0.2.1", port=0, insecure=True)))


def test_a_privileged_port_is_refused_with_the_reason() -> None:
    address = ListenAddress("router", "127.0.0.1", 80, "router.port")

    message = str(listen_addresses.refusal(address, PermissionError(errno.EACCES, "Permission denied")))

    assert message.endswith("Permission denied: ports below 1024 need privileges; choose another router.port")


@needs_ipv6
def test_a_server_for_both_families_that_listens_on_an_ipv4_address_is_named() -> None:
    """So gRPC listens: the port of another hermes was said to belong to another user."""
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        other.bind(("::ffff:127.0.0.1", 0))
        other.listen()
        address = ListenAddress(ROUTER, "127.0.0.1", other.getsockname()[1], "router.port")
        with pytest.raises(AddressInUse, match=f": process {os.getpid()} "):
            listen_addresses.require_free([address])


@needs_ipv6
def test_on_all_addresses_the_router_takes_the_port_of_ipv4_too_and_metrics_do_not() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        listen_addresses.require_free([ListenAddress(METRICS, "::", port, "metrics.port")])
        with pytest.raises(AddressInUse, match=f": process {os.getpid()} "):
            listen_addresses.require_free([ListenAddress(ROUTER, "::", port, "router.port")])


def test_an_address_with_a_zone_is_free() -> None:
    links = [one.address for found in psutil.net_if_addrs().values() for one in found if "%" in one.address]
    if not links:
        pytest.skip("no link has an IPv6 address here")

    listen_addresses.require_free([ListenAddress(ROUTER, links[0], 0, "router.port")])


@pytest.mark.parametrize("found", [[NOT_OURS, OURS], [OURS, NOT_OURS]])
def test_of_a_name_one_address_of_this_machine_is_enough(
    found: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    listen_addresses.require_free([ListenAddress(ROUTER, "cameras", 0, "router.port")])


def test_of_a_name_each_address_must_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", free_port())) as other:
        both = [OURS, (*OURS[:4], other.getsockname())]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        address = ListenAddress(ROUTER, "cameras", other.getsockname()[1], "router.port")
        with pytest.raises(AddressInUse, match=f": process {os.getpid()} "):
            listen_addresses.require_free([address])


@pytest.mark.parametrize("host", ["no.such.invalid", "a..b"])
def test_a_host_that_is_none_is_refused_with_its_key(host: str) -> None:
    with pytest.raises(AddressInUse, match=r"choose another router\.host, an address of this machine$"):
        listen_addresses.require_free([ListenAddress(ROUTER, host, 0, "router.port")])


def test_a_free_address_that_grpc_refuses_is_blamed_on_no_process() -> None:
    message = str(listen_addresses.refusal(ListenAddress(ROUTER, "127.1", 0, "router.port")))

    assert "process" not in message
    assert message.endswith("choose another router.host, an address of this machine")


@pytest.mark.parametrize("host", ["", "0.0.0.0", "localhost"])
def test_metrics_may_listen_on_all_addresses_and_on_a_name(host: str) -> None:
    listen_addresses.require_free([ListenAddress(METRICS, host, 0, "metrics.port")])
