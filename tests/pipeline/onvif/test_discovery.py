"""WS-Discovery on one interface: a responder on loopback that answers as published devices do."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

import pytest

from pipeline.onvif import discovery
from pipeline.onvif.discovery import FoundDevice, InterfaceError

ENOUGH_S = 60  # no test waits so long: each takes the answers that it needs, and goes
_IP_MULTICAST_ALL = 49  # Linux: a socket hears the groups of others too, unless it is told not to
_GROUP = "239.255.255.250"


def match(endpoint: str, urls: str, scopes: str = "") -> str:
    return (
        '<?xml version="1.0"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
        "<SOAP-ENV:Header><wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</wsa:Action>"
        "</SOAP-ENV:Header><SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch><wsa:EndpointReference>"
        f"<wsa:Address>{endpoint}</wsa:Address></wsa:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types>"
        f"<d:Scopes>{scopes}</d:Scopes><d:XAddrs>{urls}</d:XAddrs><d:MetadataVersion>10</d:MetadataVersion>"
        "</d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )


def member(interface: str, port: int = 0) -> socket.socket:
    """A socket that hears what is sent to the group by one interface. Raises OSError for one without addresses."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((_GROUP, port))
    one.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    group = struct.pack("4s4si", socket.inet_aton(_GROUP), bytes(4), socket.if_nametoindex(interface))
    one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    return one


@contextlib.contextmanager
def responder(answers: Sequence[str | bytes]) -> Iterator[list[bytes]]:
    """Devices that send these answers to each probe on loopback; yields the probes.

    On a port of their own, so that the tests of another process do not hear them.
    """
    probes: list[bytes] = []
    with member("lo") as one, pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "PORT", one.getsockname()[1])
        one.settimeout(0.05)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    probe, sender = one.recvfrom(65_535)
                    probes.append(probe)
                    for answer in answers:
                        one.sendto(answer if isinstance(answer, bytes) else answer.encode(), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield probes
        finally:
            ended.set()
            thread.join()


def found(answers: Sequence[str | bytes], count: int) -> list[FoundDevice]:
    """The first devices that are found."""
    with responder(answers), contextlib.closing(discovery.discover("lo", ENOUGH_S)) as devices:
        return [next(devices) for _ in range(count)]


def test_devices_are_found_once_each_with_their_urls_and_names() -> None:
    root = "onvif://www.onvif.org"
    scopes = f"{root}/type/video_encoder {root}/hardware/C-1 {root}/name/ACME%20C1"
    first = match("urn:uuid:1", "http://10.0.0.18/onvif/device_service http://[2001:db8::2]:8080/onvif", scopes)
    with (
        responder([first, first, match("urn:uuid:2", "https://10.0.0.19/onvif")]) as probes,
        contextlib.closing(discovery.discover("lo", ENOUGH_S)) as devices,
    ):
        one, other = next(devices), next(devices)

    assert one.urls == ("http://10.0.0.18/onvif/device_service", "http://[2001:db8::2]:8080/onvif")
    assert (one.endpoint, one.name, one.hardware) == ("urn:uuid:1", "ACME C1", "C-1")
    assert (other.endpoint, other.urls, other.name) == ("urn:uuid:2", ("https://10.0.0.19/onvif",), "")
    assert b"NetworkVideoTransmitter" in probes[0]


def test_a_link_local_url_gets_the_interface_that_it_is_good_on() -> None:
    (device,) = found([match("urn:uuid:1", "http://[fe80::1]:80/onvif http://[fe80::2%25x]/ http://169.254.1.2/")], 1)

    assert device.urls == ("http://[fe80::1%lo]:80/onvif", "http://[fe80::2%25x]/", "http://169.254.1.2/")


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("http://[fe80::1]/onvif", "http://[fe80::1%eth0]/onvif"),
        ("http://[FE80::1]:8080/onvif", "http://[fe80::1%eth0]:8080/onvif"),
        ("http://[fe80::1%25wlan0]/onvif", "http://[fe80::1%25wlan0]/onvif"),
        ("http://[febf::1]/", "http://[febf::1%eth0]/"),
        ("http://[fec0::1]/", "http://[fec0::1]/"),
        ("http://[fd00::1]:80/", "http://[fd00::1]:80/"),
        ("http://[::ffff:10.0.0.1]/", "http://[::ffff:10.0.0.1]/"),
        ("http://[2001:db8::2]/", "http://[2001:db8::2]/"),
        ("http://169.254.1.2/", "http://169.254.1.2/"),
        ("http://camera.local/", "http://camera.local/"),
        ("http://[fe80::1/", None),
        ("http://[::1]:99999/", None),
        ("http://user@[fe80::1]/", None),
        ("ftp://[fe80::1]/", None),
    ],
)
def test_the_addresses_of_both_families_are_told_as_probe_takes_them(told: str, url: str | None) -> None:
    (device,) = discovery._devices(match("urn:uuid:1", told).encode(), "fe80::9%eth0", "eth0")

    assert device.urls == ((url,) if url else ())


@pytest.mark.parametrize(
    ("sender", "address"),
    [("fe80::9", "fe80::9%eth0"), ("fe80::9%eth0", "fe80::9%eth0"), ("10.0.0.9", "10.0.0.9"), ("fd00::9", "fd00::9")],
)
def test_a_device_that_answers_from_a_link_local_address_is_told_with_its_interface(sender: str, address: str) -> None:
    """What a socket names is without it."""

    class Inbox:
        def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int, int, int]]:
            return b"answer", (sender, 3702, 0, 2)

    class Ready:
        def select(self, timeout_s: float) -> list[tuple[selectors.SelectorKey, int]]:
            return [(selectors.SelectorKey(Inbox(), 0, 0, None), 0)]  # type: ignore[arg-type]

    class Outbox:
        def sendto(self, data: bytes, group: object) -> None: ...

    groups = [(Outbox(), ("ff02::c", 3702, 0, 2))]

    assert next(discovery._received(Ready(), groups, "eth0", ENOUGH_S)) == (b"answer", address)  # type: ignore[arg-type]


def test_ipv6_is_asked_on_the_interface_alone() -> None:
    index = socket.if_nametoindex("lo")
    found = discovery._sockets(index)
    for one, _ in found:
        one.close()

    if len(found) == 1:
        pytest.skip("a machine without IPv6")
    assert found[1][1] == ("ff02::c", discovery.PORT, 0, index)


def test_answers_that_are_none_are_skipped() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><Envelope><ProbeMatch><Address>&a;</Address></ProbeMatch></Envelope>'
    junk = [b"", b"\x00\xff" * 30_000, bomb, b"<html/>", b"<Envelope/>"]
    (device,) = found([*junk, match("", "file:///etc/passwd http://a:b@10.0.0.1/ http://[ http:///x")], 1)

    assert device.urls == ()
    assert device.endpoint == device.address  # it names none


def test_very_many_urls_of_one_device_are_bounded() -> None:
    (device,) = found([match("urn:uuid:1", " ".join(f"http://10.0.0.1/{n}" for n in range(500)))], 1)

    assert len(device.urls) == 8


def test_nothing_is_found_where_nothing_answers() -> None:
    with responder([]):
        assert list(discovery.discover("lo", 0.1)) == []


def test_an_interface_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InterfaceError, match=r"'eth77' is no network interface: .*lo"):
        list(discovery.discover("eth77", 1))


def test_an_interface_on_which_nothing_can_be_sent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_sockets", lambda _: [(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("", 0))])

    with pytest.raises(InterfaceError, match="interface 'lo': nothing can be sent: Invalid argument"):
        list(discovery.discover("lo", 1))


def test_probes_leave_by_the_named_interface_alone() -> None:
    """A member of the group on another interface hears nothing."""
    answer = match("urn:uuid:1", "http://10.0.0.1/")
    with responder([answer]), contextlib.ExitStack() as stack:
        listeners = []
        for name in set(discovery.interfaces()) - {"lo"}:
            with contextlib.suppress(OSError):
                listeners.append(stack.enter_context(member(name, discovery.PORT)))
        with contextlib.closing(discovery.discover("lo", ENOUGH_S)) as devices:
            next(devices)

        for one in listeners:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(99)
