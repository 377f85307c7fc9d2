"""Which addresses cameras may have. Host names are resolved once; only a checked address is connected to."""

from __future__ import annotations

import hashlib
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network.tls import TlsClient

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Loopback, link-local, multicast and reserved networks, and the addresses of cloud metadata services.
_REFUSED_BY_DEFAULT = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "169.254.169.254/32",
    "169.254.170.2/32",
    "169.254.170.23/32",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.0/24",
    "192.0.0.192/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::1/128",
    "::ffff:0:0:0/96",  # a stateless translator embeds an IPv4 address
    "64:ff9b:1::/48",  # NAT64 of a local network embeds an IPv4 address, at a place that only this network knows
    "fe80::/10",
    "fe80::a9fe:a9fe/128",
    "fd00:c1::a9fe:a9fe/128",
    "fd00:ec2::23/128",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "ff00::/8",
    "2001::/32",  # Teredo embeds an IPv4 address
)
# Networks of private use, where a caller from elsewhere shall not look around.
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Allowed and refused networks. The longest matching prefix wins; an address that matches none is allowed."""

    allowed: tuple[Network, ...] = ()
    refused: tuple[Network, ...] = ()

    def refusing_network(self, address: Address) -> Network | None:
        """The refused network that `address` is in, None if the address is allowed."""
        return next((network for form in _forms(address) if (network := self._match(form)) is not None), None)

    def _match(self, address: Address) -> Network | None:
        refused = _longest_match((*parse_networks(_REFUSED_BY_DEFAULT), *self.refused), address)
        allowed = _longest_match(self.allowed, address)
        if refused is None or allowed is None or refused.prefixlen > allowed.prefixlen:
            return refused
        # A network in both lists is refused.
        return refused if refused in self.refused and refused.prefixlen == allowed.prefixlen else None


def parse_networks(networks: Iterable[str]) -> tuple[Network, ...]:
    """Networks from CIDR notation. Raises ValueError, which names the invalid one."""
    return tuple(ipaddress.ip_network(network) for network in networks)


def system_lookup(host: str) -> list[str]:
    """The addresses of a host, in the system's order of preference. Blocks. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [_with_zone(str(address[0]), *address[3:]) for *_, address in found]


def _with_zone(address: str, zone: int | str = 0) -> str:
    """A link-local address is one only on its network interface."""
    return f"{address}%{zone}" if zone and "%" not in address else address


def resolve(
    host: str,
    rules: AddressRules | None,
    timeout_s: float,
    *,
    label: str,
    lookup: Callable[[str], list[str]] = system_lookup,
) -> tuple[Address, ...]:
    """The addresses of a host, all of them allowed by `rules` if there are any. Blocks for at most `timeout_s`.

    `label` names the camera in messages. Raises SourceUnreachable if the host has no address, SourceInvalid if one of
    its addresses is refused.
    """
    addresses = tuple(dict.fromkeys(map(_without_mapping, _look_up(host, timeout_s, label, lookup))))
    for address in addresses:
        if rules is not None and (network := rules.refusing_network(address)) is not None:
            text = f"{label}: its address {address} is in the refused network {network}"
            hint = f'ingest.allowed_networks: ["{_network_of(address)}"] can allow it'
            raise SourceInvalid(f"{text} ({hint})", SourceReason.ADDRESS_REFUSED)
    return addresses


def _network_of(address: Address) -> Network:
    """The network that holds this address alone. A zone is no part of a network."""
    return ipaddress.ip_network(address.packed)


def _look_up(host: str, timeout_s: float, label: str, lookup: Callable[[str], list[str]]) -> list[Address]:
    # getaddrinfo takes no timeout: after `timeout_s` the thread that waits for it is abandoned.
    results: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(lookup(host))
        except (OSError, UnicodeError) as error:
            results.put(error)

    threading.Thread(target=run, name="lookup", daemon=True).start()
    try:
        result = results.get(timeout=timeout_s)
    except queue.Empty:
        result = TimeoutError(0, f"no answer from a name server within {timeout_s:g} s")
    if isinstance(result, Exception):
        cause = getattr(result, "strerror", None) or "invalid host name"
        raise SourceUnreachable(f"{label}: host {host!r} has no address: {cause}", SourceReason.NO_ADDRESS)
    return [ipaddress.ip_address(address) for address in result]


def connect(addresses: Sequence[Address], port: int, timeout_s: float, *, label: str) -> socket.socket:
    """A connection to the first address that answers, within about `timeout_s`. Raises SourceUnreachable."""
    deadline_s, failure = time.monotonic() + timeout_s, None
    for index, address in enumerate(addresses):
        share_s = max(0.05, (deadline_s - time.monotonic()) / (len(addresses) - index))
        try:
            return socket.create_connection((str(address), port), share_s)
        except OSError as error:
            failure = error
    raise _unreachable(failure, label, port, timeout_s)


def connect_to(
    host: str, port: int, rules: AddressRules | None, timeout_s: float, *, label: str, tls: TlsClient | None = None
) -> socket.socket:
    """A connection to a host that `rules` allow (None: any), over TLS if `tls` is given. Raises SourceError."""
    plain = connect(resolve(host, rules, timeout_s, label=label), port, timeout_s, label=label)
    if tls is None:
        return plain
    try:
        connection = tls.context.wrap_socket(plain, server_hostname=tls.server_name(host))
    except OSError as error:
        plain.close()
        raise _tls_failure(error, label, timeout_s) from None
    certificate = connection.getpeercert(binary_form=True) or b""
    if tls.pin and not tls.is_pinned(certificate):
        connection.close()
        found = hashlib.sha256(certificate).hexdigest()
        text = f"{label}: its TLS certificate has the SHA-256 {found}, not that of tls_certificate_sha256, {tls.pin}"
        raise SourceUnreachable(text, SourceReason.TLS)
    return connection


def _tls_failure(error: OSError, label: str, timeout_s: float) -> SourceUnreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = (
            f"{label}: its TLS certificate is not trusted: {error.verify_message} (ingest.ca_file can add authorities, "
            "and the camera's tls_certificate_sha256, tls_ca or tls_name say which one is right)"
        )
        return SourceUnreachable(text, SourceReason.TLS)
    if isinstance(error, TimeoutError):
        return SourceUnreachable(f"{label}: no answer within {timeout_s:g} s", SourceReason.NO_ANSWER)
    return SourceUnreachable(
        f"{label}: the TLS handshake failed: {getattr(error, 'reason', None) or error.strerror}", SourceReason.TLS
    )


def _unreachable(error: OSError | None, label: str, port: int, timeout_s: float) -> SourceUnreachable:
    if isinstance(error, ConnectionRefusedError):
        return SourceUnreachable(f"{label}: nothing listens on port {port}", SourceReason.CONNECTION_REFUSED)
    cause = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else getattr(error, "strerror", None)
    return SourceUnreachable(f"{label}: {cause or 'no route'}", SourceReason.NO_ANSWER)


def _longest_match(networks: Iterable[Network], address: Address) -> Network | None:
    matches = (network for network in networks if address.version == network.version and address in network)
    return max(matches, key=lambda network: network.prefixlen, default=None)


def _without_mapping(address: Address) -> Address:
    """The IPv4 address of an IPv4-mapped IPv6 address; any other address unchanged."""
    return getattr(address, "ipv4_mapped", None) or address


def _forms(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that are reached through it (6to4, NAT64)."""
    yield _without_mapping(address)
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            yield address.sixtofour
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
