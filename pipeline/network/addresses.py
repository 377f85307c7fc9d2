"""Where a camera may be: names are resolved, addresses judged, and only what was judged is connected to."""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# This machine, its own network segment, what is for many or for nobody; and where clouds keep credentials.
_USUALLY_REFUSED = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "169.254.169.254/32",
    "169.254.170.2/32",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.0/24",
    "192.0.0.192/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::1/128",
    "fe80::/10",
    "fd00:ec2::254/128",
    "ff00::/8",
    "2001::/32",  # Teredo: an IPv4 address in disguise
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which networks are allowed and refused: the narrowest that an address is in decides; in none, it is allowed."""

    allowed: tuple[Network, ...] = ()
    refused: tuple[Network, ...] = ()

    def refusing_network(self, address: Address) -> Network | None:
        """The network for the sake of which an address is refused, None if it is not."""
        return next((found for form in _forms(address) if (found := self._refusing(form)) is not None), None)

    def _refusing(self, address: Address) -> Network | None:
        refused = _narrowest((*parse_networks(_USUALLY_REFUSED), *self.refused), address)
        allowed = _narrowest(self.allowed, address)
        if refused is None or allowed is None or refused.prefixlen > allowed.prefixlen:
            return refused
        # What is said of one network in both lists: caution.
        return refused if refused in self.refused and refused.prefixlen == allowed.prefixlen else None


def parse_networks(networks: Iterable[str]) -> tuple[Network, ...]:
    """Networks from CIDR form. Raises ValueError that names the one that is none."""
    return tuple(ipaddress.ip_network(network) for network in networks)


def system_lookup(host: str) -> list[str]:
    """The addresses that the system knows for a host, the best first. Raises OSError, UnicodeError."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def resolve(
    host: str,
    rules: AddressRules,
    timeout_s: float,
    *,
    label: str,
    lookup: Callable[[str], list[str]] = system_lookup,
) -> tuple[Address, ...]:
    """The addresses of a host, every one of them allowed.

    `named` stands for the camera in messages. Raises SourceUnreachable and SourceInvalid.
    """
    addresses = tuple(dict.fromkeys(map(_plain, _looked_up(host, timeout_s, label, lookup))))
    for address in addresses:
        if (network := rules.refusing_network(address)) is not None:
            told = f"{label}: its address {address} is in {network}, where cameras are refused"
            raise SourceInvalid(f"{told} (ingest.allowed_networks may allow it)", SourceReason.ADDRESS_REFUSED)
    return addresses


def _looked_up(host: str, timeout_s: float, label: str, lookup: Callable[[str], list[str]]) -> list[Address]:
    # The system asks name servers for as long as it likes: the thread that waits is left behind.
    told: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            told.put(lookup(host))
        except (OSError, UnicodeError) as error:
            told.put(error)

    threading.Thread(target=ask, name="lookup", daemon=True).start()
    try:
        found = told.get(timeout=timeout_s)
    except queue.Empty:
        found = TimeoutError(0, f"no name server answers within {timeout_s:g} s")
    if isinstance(found, Exception):
        why = getattr(found, "strerror", None) or "it is no name of a host"
        raise SourceUnreachable(f"{label}: host {host!r} has no address: {why}", SourceReason.NO_ADDRESS)
    return [ipaddress.ip_address(address) for address in found]


def connect(addresses: Sequence[Address], port: int, timeout_s: float, *, label: str) -> socket.socket:
    """A connection to the first of these addresses that answers. Raises SourceUnreachable."""
    deadline_s, failure = time.monotonic() + timeout_s, None
    for place, address in enumerate(addresses):
        left_s = max(0.05, (deadline_s - time.monotonic()) / (len(addresses) - place))
        try:
            return socket.create_connection((str(address), port), left_s)
        except OSError as error:
            failure = error
    raise _unreachable(failure, label, port, timeout_s)


def connect_to(
    host: str, port: int, rules: AddressRules, timeout_s: float, *, label: str, tls: ssl.SSLContext | None = None
) -> socket.socket:
    """A connection to a host that may be a camera, and with TLS is the one it says it is. Raises a SourceError."""
    plain = connect(resolve(host, rules, timeout_s, label=label), port, timeout_s, label=label)
    if tls is None:
        return plain
    try:
        return tls.wrap_socket(plain, server_hostname=host)
    except OSError as error:
        plain.close()
        raise _without_tls(error, label, timeout_s) from None


def _without_tls(error: OSError, label: str, timeout_s: float) -> SourceUnreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"{label}: its certificate is not believed: {error.verify_message} (ingest.ca_file may hold more)"
        return SourceUnreachable(text, SourceReason.TLS)
    if isinstance(error, TimeoutError):
        return SourceUnreachable(f"{label}: no answer within {timeout_s:g} s", SourceReason.NO_ANSWER)
    return SourceUnreachable(
        f"{label}: no TLS there: {getattr(error, 'reason', None) or error.strerror}", SourceReason.TLS
    )


def _unreachable(error: OSError | None, label: str, port: int, timeout_s: float) -> SourceUnreachable:
    if isinstance(error, ConnectionRefusedError):
        return SourceUnreachable(f"{label}: nothing listens on port {port}", SourceReason.CONNECTION_REFUSED)
    why = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else getattr(error, "strerror", None)
    return SourceUnreachable(f"{label}: {why or 'no way there'}", SourceReason.NO_ANSWER)


def _narrowest(networks: Iterable[Network], address: Address) -> Network | None:
    around = (network for network in networks if address.version == network.version and address in network)
    return max(around, key=lambda network: network.prefixlen, default=None)


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as one of IPv6, as what it is."""
    return getattr(address, "ipv4_mapped", None) or address


def _forms(address: Address) -> Iterator[Address]:
    """The address, and those of IPv4 that are reached through it."""
    yield _plain(address)
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            yield address.sixtofour
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
