"""Finds the ONVIF devices of one network interface by WS-Discovery. Existing libraries ask on all interfaces."""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pipeline.onvif import replies
from pipeline.onvif.replies import NotSoap
from pipeline.onvif.stream_urls import bracketed

PORT = 3702
MAX_DEVICES = 1_000
_GROUP_V4, _GROUP_V6 = "239.255.255.250", "ff02::c"
_REPEATS_S = (0.0, 0.5, 1.0)  # datagrams get lost
_MAX_NBYTES = 65_535
_MAX_URLS = 8
_PROBE = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
    '<s:Header><a:Action s:mustUnderstand="1">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>'
    "<a:MessageID>urn:uuid:{id}</a:MessageID>"
    '<a:To s:mustUnderstand="1">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>'
    "<s:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></s:Body></s:Envelope>"
)


_Group = tuple[str, int] | tuple[str, int, int, int]


class InterfaceError(Exception):
    """Nothing can be asked on a network interface."""


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """What a device says of itself. address: where its answer came from. urls: of its device service."""

    endpoint: str
    address: str
    urls: tuple[str, ...]
    name: str
    hardware: str


def interfaces() -> list[str]:
    """The names of this machine's network interfaces."""
    return [name for _, name in socket.if_nameindex()]


def discover(interface: str, wait_s: float) -> Iterator[FoundDevice]:
    """The devices that answer on an interface within `wait_s`, each once, as they answer. Raises InterfaceError."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        raise InterfaceError(f"{interface!r} is no network interface: {', '.join(interfaces())}") from None
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        groups = [(stack.enter_context(one), group) for one, group in _sockets(index)]
        for one, _ in groups:
            selector.register(one, selectors.EVENT_READ)
        endpoints: set[str] = set()
        for data, address in _received(selector, groups, interface, wait_s):
            for device in _devices(data, address, interface):
                if device.endpoint not in endpoints and len(endpoints) < MAX_DEVICES:
                    endpoints.add(device.endpoint)
                    yield device


def _sockets(index: int) -> list[tuple[socket.socket, _Group]]:
    """A socket of each family, whose multicasts leave on one interface, and the group that it asks."""
    v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    v4.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), index))
    found: list[tuple[socket.socket, _Group]] = [(v4, (_GROUP_V4, PORT))]
    with suppress(OSError):  # a machine without IPv6
        v6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        found.append((v6, (_GROUP_V6, PORT, 0, index)))
    return found


def _received(
    selector: selectors.BaseSelector, groups: list[tuple[socket.socket, _Group]], interface: str, wait_s: float
) -> Iterator[tuple[bytes, str]]:
    """What comes back within `wait_s`, and from where. Raises InterfaceError if nothing can be sent."""
    start_s = time.monotonic()
    probe = _PROBE.format(id=uuid.uuid4()).encode()
    repeats = deque(_REPEATS_S)
    while (now_s := time.monotonic() - start_s) < wait_s:
        if repeats and now_s >= repeats[0]:
            repeats.popleft()
            _send(probe, groups, interface)
        next_s = min(repeats[0], wait_s) if repeats else wait_s
        for key, _ in selector.select(max(0.0, next_s - now_s)):
            received: tuple[bytes, tuple[str, int]] = key.fileobj.recvfrom(_MAX_NBYTES)  # type: ignore[union-attr]
            yield received[0], _on_interface(received[1][0], interface)


def _send(probe: bytes, groups: list[tuple[socket.socket, _Group]], interface: str) -> None:
    failures = []
    for one, group in groups:
        try:
            one.sendto(probe, group)
        except OSError as error:  # of one family, mostly: an interface without an address of it
            failures.append(error.strerror or str(error))
    if len(failures) == len(groups):
        raise InterfaceError(f"interface {interface!r}: nothing can be sent: {'; '.join(failures)}")


def _devices(data: bytes, address: str, interface: str) -> Iterator[FoundDevice]:
    try:
        matches = replies.probe_matches(replies.parse(data))
    except NotSoap:
        return
    for match in matches:
        urls = tuple(filter(None, (_usable(url, interface) for url in match.urls[:_MAX_URLS])))
        name, hardware = (_scope(match.scopes, kind) for kind in ("name", "hardware"))
        yield FoundDevice(match.endpoint or address, address, urls, name, hardware)


def _usable(url: str, interface: str) -> str | None:
    """The URL as `cameras probe` takes it, None if it is none. A link-local address is one on its interface only."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    return parts._replace(netloc=bracketed(_on_interface(host, interface)) + (f":{port}" if port else "")).geturl()


def _on_interface(host: str, interface: str) -> str:
    """A link-local IPv6 address with the interface that it is good on; anything else as it is."""
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_link_local and ":" in host and "%" not in host:
            return f"{host}%{interface}"
    return host


def _scope(scopes: list[str], kind: str) -> str:
    """The value of a scope: onvif://www.onvif.org/name/VALUE."""
    start = f"onvif://www.onvif.org/{kind}/"
    return next((unquote(one[len(start) :]) for one in scopes if one.lower().startswith(start)), "")
