"""Which addresses cameras may have: by default, by configuration, and in every notation of an address."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading

import pytest

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import addresses
from pipeline.network.addresses import AddressRules
from pipeline.sources.ingest_config import IngestConfig


def refuses(address: str, **rules: tuple[str, ...]) -> bool:
    return IngestConfig(**rules).address_rules.refusing_network(ipaddress.ip_address(address)) is not None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "169.254.169.254",
        "169.254.1.1",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fe80::a9fe:a9fe",
        "169.254.170.23",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::ffff:0:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:ffff::1",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
    ],
)
def test_special_addresses_are_refused(address: str) -> None:
    assert refuses(address)


@pytest.mark.parametrize("address", ["10.0.0.17", "192.168.1.2", "172.16.0.9", "100.64.3.4", "8.8.8.8", "fd12::7"])
def test_private_and_public_addresses_are_allowed(address: str) -> None:
    assert not refuses(address)


@pytest.mark.parametrize(
    ("address", "network"),
    [("169.254.170.23", "169.254.0.0/16"), ("fd00:ec2::23", "fd00::/8"), ("fd20:ce::254", "fd20::/16")],
)
def test_a_metadata_service_stays_refused_where_its_network_is_allowed(address: str, network: str) -> None:
    assert refuses(address, allowed_networks=(network,))


@pytest.mark.parametrize("address", ["10.0.0.17", "192.168.1.2", "172.16.0.9", "100.64.3.4", "fd12::7"])
def test_a_test_reaches_private_networks_only_where_the_configuration_says_so(address: str) -> None:
    def refuses_test(**settings) -> bool:
        config = IngestConfig(**settings).for_tests()
        return config.address_rules.refusing_network(ipaddress.ip_address(address)) is not None

    assert refuses_test()
    assert not refuses_test(test_private_networks=True)
    assert not refuses_test(allowed_networks=(f"{address}/{'128' if ':' in address else '32'}",))
    assert not refuses_test(allowed_networks=addresses.PRIVATE)


def test_a_test_reaches_public_addresses() -> None:
    assert IngestConfig().for_tests().address_rules.refusing_network(ipaddress.ip_address("8.8.8.8")) is None


def test_the_longest_matching_prefix_wins() -> None:
    only_cameras = {"refused_networks": ("0.0.0.0/0", "::/0"), "allowed_networks": ("10.20.0.0/16",)}

    assert not refuses("10.20.0.5", **only_cameras)
    assert refuses("10.21.0.5", **only_cameras)
    assert refuses("fd12::7", **only_cameras)
    assert refuses("10.20.9.9", allowed_networks=("10.20.0.0/16",), refused_networks=("10.20.9.0/24",))


def test_loopback_is_allowed_only_by_its_own_network() -> None:
    assert not refuses("127.0.0.1", allowed_networks=("127.0.0.0/8",))
    assert not refuses("::1", allowed_networks=("::1/128",))
    assert refuses("127.0.0.1", allowed_networks=("0.0.0.0/0",))


def test_allowing_link_local_does_not_allow_cloud_metadata_services() -> None:
    rules = {"allowed_networks": ("169.254.0.0/16",)}

    assert not refuses("169.254.3.3", **rules)
    assert refuses("169.254.169.254", **rules)


def test_a_network_in_both_lists_is_refused() -> None:
    assert refuses("10.0.0.1", allowed_networks=("10.0.0.0/8",), refused_networks=("10.0.0.0/8",))


@pytest.mark.parametrize("network", ["10.0.0.5/8", "camera", "10.0.0.0/40"])
def test_the_message_names_an_invalid_network(network: str) -> None:
    with pytest.raises(ValueError, match=rf"ingest\.refused_networks: .*{network}"):
        IngestConfig(refused_networks=(network,))


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1"])
def test_a_host_is_refused_by_its_address(host: str) -> None:
    with pytest.raises(SourceInvalid, match=r"http://camera: its address .* is in .*allowed_networks") as caught:
        addresses.resolve(host, AddressRules(), 5.0, label="http://camera")

    assert caught.value.reason is SourceReason.ADDRESS_REFUSED


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("127.0.0.1", "127.0.0.1/32"),
        ("169.254.7.9", "169.254.7.9/32"),
        ("::1", "::1/128"),
        ("fe80::1%lo", "fe80::1/128"),
    ],
)
def test_a_refusal_names_the_network_that_allows_the_address(host: str, network: str) -> None:
    def resolve(*allowed: str) -> tuple[addresses.Address, ...]:
        rules = IngestConfig(allowed_networks=allowed).address_rules
        return addresses.resolve(host, rules, 1.0, label="yard", lookup=lambda name: [name])

    with pytest.raises(SourceInvalid, match=re.escape(f'ingest.allowed_networks: ["{network}"] can allow it')):
        resolve()
    assert len(resolve(network)) == 1


def test_a_host_without_an_address_has_its_reason() -> None:
    with pytest.raises(SourceUnreachable) as caught:
        addresses.resolve("no-such-camera.invalid", AddressRules(), 5.0, label="http://camera")

    assert caught.value.reason is SourceReason.NO_ADDRESS


def test_one_refused_address_of_a_host_is_enough() -> None:
    with pytest.raises(SourceInvalid, match=r"169\.254\.169\.254"):
        addresses.resolve(
            "camera", AddressRules(), 5.0, label="http://camera", lookup=lambda _: ["10.0.0.1", "169.254.169.254"]
        )


def test_a_silent_name_server_is_given_up_after_the_timeout() -> None:
    is_over = threading.Event()

    def silent(host: str) -> list[str]:
        is_over.wait(30)
        return []

    with pytest.raises(SourceUnreachable, match=r"no answer from a name server within 0\.2 s") as caught:
        addresses.resolve("camera", AddressRules(), 0.2, label="http://camera", lookup=silent)
    is_over.set()

    assert caught.value.reason is SourceReason.NO_ADDRESS


def test_the_first_address_that_answers_is_connected() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listening:
        port = listening.getsockname()[1]
        tried = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("127.0.0.2")]
        with addresses.connect(tried, port, 2.0, label="http://camera") as connection:
            assert connection.getpeername()[0] == "127.0.0.2"


def test_the_message_names_a_port_that_nothing_listens_on() -> None:
    with pytest.raises(SourceUnreachable, match="nothing listens on port 9") as caught:
        addresses.connect([ipaddress.ip_address("127.0.0.1")], 9, 2.0, label="http://camera")

    assert caught.value.reason is SourceReason.CONNECTION_REFUSED


def test_a_link_local_address_keeps_its_interface() -> None:
    index = socket.if_nametoindex("lo")

    assert addresses.resolve("fe80::1%lo", AddressRules((ipaddress.ip_network("fe80::/10"),)), 5, label="lobby") == (
        ipaddress.ip_address(f"fe80::1%{index}"),
    )
