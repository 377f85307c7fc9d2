"""The URL of a store: its check, its parts, and how messages show it. Opens no connection, resolves no name."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from cache_store.url_logins import HOW_TO_ESCAPE, is_ambiguous

_SENTINEL_SCHEME = "redis+sentinel"
SCHEMES = ("redis", "rediss", "unix", _SENTINEL_SCHEME)
_SENTINEL_PORT = 26_379
_SENTINEL_FORM = f"{_SENTINEL_SCHEME}://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE"
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelAddress:
    """The Sentinels of a service. `username` and `password` are for the primary itself."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def validate(url: str) -> None:
    """Returns if this is the URL of a store. Raises ValueError, whose message never shows a password."""
    scheme = url.partition(":")[0]
    if scheme not in SCHEMES or not url.startswith(f"{scheme}://") or url == f"{scheme}://":
        schemes = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(
            f"store is neither 'embedded', 'embedded:FOLDER' nor a URL of {schemes}: its scheme is {scheme!r}"
        )
    if is_ambiguous(url):
        raise ValueError(f"store URL of scheme {scheme!r}: its login could be taken for its host: {HOW_TO_ESCAPE}")
    if scheme == _SENTINEL_SCHEME:
        sentinel_address(url)
        return
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(
            f"store URL of scheme {scheme!r}: its port is not a number from 0 to 65535 ({HOW_TO_ESCAPE})"
        ) from None


def is_sentinel(url: str) -> bool:
    """Whether Sentinels name the server."""
    return url.startswith(f"{_SENTINEL_SCHEME}://")


def sentinel_address(url: str) -> SentinelAddress:
    """The parts of a redis+sentinel:// URL. Raises ValueError."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service = unquote(parts.path.strip("/"))
    options = dict(_options(parts.query))
    unknown = sorted(set(options) - set(_SENTINEL_OPTIONS))
    if unknown:
        raise ValueError(f"store URL: unknown option {unknown[0]!r} (one of {', '.join(_SENTINEL_OPTIONS)})")
    if not service or "/" in service:
        raise ValueError(f"store URL names no service (expected {_SENTINEL_FORM})")
    return SentinelAddress(
        sentinels=tuple(_sentinel(host) for host in hosts.split(",")),
        service=service,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def for_client(url: str) -> str:
    """The URL as redis-py reads it: it takes a '+' of the query for a blank."""
    base, sign, query = url.partition("?")
    return base + sign + query.replace("+", "%2B")


def redact(url: str) -> str:
    """The URL without credentials, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _options(query: str) -> list[tuple[str, str]]:
    """Names and decoded values. A '+' stays one: passwords hold it, and no form was filled in here."""
    pairs = (pair.partition("=") for pair in query.split("&"))
    return [(unquote(name), unquote(value)) for name, _, value in pairs if value]


def _sentinel(host: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port = None, None
    if not name:
        raise ValueError(f"store URL: {host!r} is not a Sentinel (expected {_SENTINEL_FORM})")
    return name, port or _SENTINEL_PORT
