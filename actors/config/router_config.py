"""Where clients connect, and which of them may call (`router` and `auth` in the YAML)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actors.config import hosts, ranges
from actors.config.ranges import Ranges
from actors.config.tls import TlsConfig
from actors.errors import ConfigError
from pipeline.network.redaction import REDACTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """Where clients connect, and how many at once.

    host: address that the server listens on; any other than a loopback address needs router.tls and auth.token_file.
    port: TCP port; 0 takes any free one.
    health_port: TCP port that answers health checks alone, in clear text, for probes that speak no TLS, e.g. those of
        Kubernetes; null: none.
    tls: files for encrypted connections; null: clear text.
    insecure: whether other machines may connect without router.tls or auth.token_file.
    max_concurrent_calls: number of calls that run at once; more are refused with RESOURCE_EXHAUSTED.
    max_concurrent_calls_per_peer: how many of them one host, or the holder of one client certificate, may have.
    write_timeout_s: seconds that a client may take to read one message of an answer, before its call is ended.
    grace_s: seconds that running calls may go on once the server is told to stop; it is not ready meanwhile.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[Ranges] = {
        "port": (0, 65_535),
        "health_port": (0, 65_535),
        "max_concurrent_calls": (1, math.inf),
        "max_concurrent_calls_per_peer": (1, math.inf),
        "write_timeout_s": (0.1, math.inf),
        "grace_s": (0, math.inf),
    }

    host: str = "127.0.0.1"
    port: int = 50051
    health_port: int | None = None
    tls: TlsConfig | None = None
    insecure: bool = False
    max_concurrent_calls: int = 256
    max_concurrent_calls_per_peer: int = 128
    write_timeout_s: float = 10.0
    grace_s: float = 10.0

    def __post_init__(self) -> None:
        ranges.require("router", self)
        if self.health_port == self.port != 0:
            raise ValueError(f"router.health_port is {self.health_port} (another one than router.port)")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return hosts.is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Which clients may call.

    token_file: path of a file with the token that every call must carry; null: calls need no token.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    token_file: Path | None = None

    def token(self) -> str | None:
        """Reads the token that calls must carry, None if they need none. Raises ConfigError."""
        if self.token_file is None:
            return None
        try:
            token = self.token_file.expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"auth.token_file {str(self.token_file)!r}: {reason}") from error
        if not token:
            raise ConfigError(f"auth.token_file {str(self.token_file)!r}: the file is empty")
        if not re.fullmatch(r"[ -~]+", token):  # gRPC carries no others
            raise ConfigError(
                f"auth.token_file {str(self.token_file)!r}: a token is one line of printable ASCII characters"
            )
        REDACTOR.remember_secret(token)
        return token
