"""Turns the stream URLs that a device names into those for `cameras add`: reachable from here, without a login."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.cameras import InvalidCamera
from pipeline.network import urls
from pipeline.network.url_redaction import MASK, redact, redact_logins
from pipeline.network.urls import NetworkUrl


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """Where a stream is. url: None if it cannot be opened. remark: what an operator should know, empty if nothing."""

    url: str | None
    remark: str = ""


def usable(url: str, device: NetworkUrl, addresses: Set[str]) -> StreamUrl:
    """The URL with the host that is probed, and without a login. addresses: what that host's name leads to.

    A device behind NAT names its inner address. Its port stays, because only the operator knows how ports are mapped.
    """
    if not url:
        return StreamUrl(None, "the device names no URL")
    try:
        parsed = urls.parse(url)
    except InvalidCamera as error:
        return StreamUrl(None, f"the device names no usable URL: {error}")
    if not isinstance(parsed, NetworkUrl):
        return StreamUrl(None, f"the device names {redact(url)[:80]!r}, which is no stream of the network")
    remarks = []
    if _without_zone(parsed.host) not in set(map(_without_zone, (device.host, *addresses))):
        remarks.append(
            f"the device names the host {parsed.host}, not {device.host}; behind NAT its port may differ too"
        )
    if urls.credentials(parsed.url) is not None:
        remarks.append("the device's URL holds a login, which is left out: use --user")
    shown = redact_logins(_with_host(urls.strip_credentials(parsed.url), device.host))
    if MASK in shown:
        remarks.append(f"the device's URL holds a login of its own: write it in place of {MASK}")
    return StreamUrl(shown, "; ".join(remarks))


def _with_host(url: str, host: str) -> str:
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{bracketed(host)}{port}").geturl()


def _without_zone(host: str) -> str:
    return host.partition("%")[0]


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
