"""Where a camera may be: by nature, by configuration, and by whatever disguise an address wears."""

from __future__ import annotations

import ipaddress
import socket
import time

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
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
    ],
)
def test_no_camera_lives_there(address: str) -> None:
    assert refuses(address)


@pytest.mark.parametrize("address", ["10.0.0.17", "192.168.1.2", "172.16.0.9", "100.64.3.4", "8.8.8.8", "fd12::7"])
def test_cameras_live_in_private_and_public_networks(address: str) -> None:
    assert not refuses(address)


def test_the_narrowest_network_decides() -> None:
    only_cameras = {"refused_networks": ("0.0.0.0/0", "::/0"), "allowed_networks": ("10.20.0.0/16",)}

    assert not refuses("10.20.0.5", **only_cameras)
    assert refuses("10.21.0.5", **only_cameras)
    assert refuses("fd12::7", **only_cameras)
    assert refuses("10.20.9.9", allowed_networks=("10.20.0.0/16",), refused_networks=("10.20.9.0/24",))


def test_loopback_is_allowed_by_its_own_name_alone() -> None:
    assert not refuses("127.0.0.1", allowed_networks=("127.0.0.0/8",))
    assert not refuses("::1", allowed_networks=("::1/128",))
    assert refuses("127.0.0.1", allowed_networks=("0.0.0.0/0",))


def test_who_allows_the_link_does_not_allow_what_clouds_keep_there() -> None:
    rules = {"allowed_networks": ("169.254.0.0/16",)}

    assert not refuses("169.254.3.3", **rules)
    assert refuses("169.254.169.254", **rules)


def test_what_both_lists_name_is_refused() -> None:
    assert refuses("10.0.0.1", allowed_networks=("10.0.0.0/8",), refused_networks=("10.0.0.0/8",))


@pytest.mark.parametrize("network", ["10.0.0.5/8", "camera", "10.0.0.0/40"])
def test_a_network_that_is_none_is_named(network: str) -> None:
    with pytest.raises(ValueError, match=rf"ingest\.refused_networks: .*{network}"):
        IngestConfig(refused_networks=(network,))


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1"])
def test_a_name_is_judged_by_where_it_leads(host: str) -> None:
    with pytest.raises(SourceInvalid, match=r"http://camera: its address .* is in .*allowed_networks") as caught:
        addresses.resolve(host, AddressRules(), 5.0, label="http://camera")

    assert caught.value.reason is SourceReason.ADDRESS_REFUSED


def test_a_name_that_is_none_is_told_apart() -> None:
    with pytest.raises(SourceUnreachable) as caught:
        addresses.resolve("no-such-camera.invalid", AddressRules(), 5.0, label="http://camera")

    assert caught.value.reason is SourceReason.NO_ADDRESS


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(SourceInvalid, match=r"169\.254\.169\.254"):
        addresses.resolve(
            "camera", AddressRules(), 5.0, label="http://camera", lookup=lambda _: ["10.0.0.1", "169.254.169.254"]
        )


def test_a_name_server_that_is_silent_is_not_waited_for() -> None:
    began_s = time.monotonic()
    with pytest.raises(SourceUnreachable, match=r"no answer from a name server within 0\.2 s") as caught:
        addresses.resolve("camera", AddressRules(), 0.2, label="http://camera", lookup=lambda _: time.sleep(3) or [])

    assert caught.value.reason is SourceReason.NO_ADDRESS
    assert time.monotonic() - began_s < 1


def test_the_first_address_that_answers_is_taken() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listening:
        port = listening.getsockname()[1]
        tried = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("127.0.0.2")]
        with addresses.connect(tried, port, 2.0, label="http://camera") as found:
            assert found.getpeername()[0] == "127.0.0.2"


def test_nobody_there_is_told_by_its_port() -> None:
    with pytest.raises(SourceUnreachable, match="nothing listens on port 9") as caught:
        addresses.connect([ipaddress.ip_address("127.0.0.1")], 9, 2.0, label="http://camera")

    assert caught.value.reason is SourceReason.CONNECTION_REFUSED
