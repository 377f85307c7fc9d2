"""What a store's URL may be, and how it may be shown. Opens nothing and resolves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

SENTINEL_SCHEME = "redis+sentinel"
SCHEMES = ("redis", "rediss", "unix", SENTINEL_SCHEME)
_SENTINEL_PORT = 26_379
_SENTINEL_FORM = f"{SENTINEL_SCHEME}://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE"
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelAddress:
    """Which Sentinels know the primary of a service. `username` and `password` are for the primary itself."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def require_known(url: str) -> None:
    """Returns if a store may have this URL. Raises ValueError, which never shows what may be a password."""
    scheme = url.partition(":")[0]
    if scheme not in SCHEMES or not url.startswith(f"{scheme}://") or url == f"{scheme}://":
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(
            f"store is neither 'embedded', 'embedded:FOLDER' nor a URL of {known}: its scheme is {scheme!r}"
        )
    if scheme == SENTINEL_SCHEME:
        sentinel_address(url)
        return
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(f"store URL of scheme {scheme!r}: its port is no number from 0 to 65535") from None


def is_sentinel(url: str) -> bool:
    """Whether Sentinels have to be asked where the store is."""
    return url.startswith(f"{SENTINEL_SCHEME}://")


def sentinel_address(url: str) -> SentinelAddress:
    """What a redis+sentinel:// URL says. Raises ValueError."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service = unquote(parts.path.strip("/"))
    options = dict(parse_qsl(parts.query))
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


def shown(url: str) -> str:
    """Host and port alone: a URL may hold a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _sentinel(host: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port = None, None
    if not name:
        raise ValueError(f"store URL: {host!r} is no Sentinel (expected {_SENTINEL_FORM})")
    return name, port or _SENTINEL_PORT
