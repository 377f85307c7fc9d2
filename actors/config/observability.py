"""What a running system shows of itself: `metrics`, `traces` and `logs` in the YAML."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar
from urllib.parse import urlsplit

from actors.config import hosts, ranges
from actors.config.ranges import Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Where Prometheus reads the metrics: http://HOST:PORT/metrics, in clear text and for everybody who connects.

    host: address that is listened on; any other than a loopback address needs metrics.insecure.
    port: TCP port; 0 takes any free one.
    insecure: whether other machines may connect; then a firewall or a NetworkPolicy must say which.
    per_camera: whether some metrics have one series for each camera, with its name.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[Ranges] = {"port": (0, 65_535)}

    host: str = "127.0.0.1"
    port: int = 9464
    insecure: bool = False
    per_camera: bool = False

    def __post_init__(self) -> None:
        ranges.require("metrics", self)
        if not self.insecure and not hosts.is_loopback(self.host):
            raise ValueError(
                f"metrics.host is {self.host!r}, which other machines can reach, and metrics have neither TLS nor a "
                "token: use 127.0.0.1, or let a firewall or a NetworkPolicy admit Prometheus alone and set "
                "metrics.insecure: true"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesConfig:
    """Where OpenTelemetry spans are sent by OTLP over gRPC. They hold no question, no answer and no URL.

    endpoint: http://HOST:PORT of a collector, in clear text, or https://HOST:PORT.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    endpoint: str

    def __post_init__(self) -> None:
        if not _is_endpoint(self.endpoint):
            raise ValueError("traces.endpoint is not http://HOST:PORT or https://HOST:PORT of an OTLP collector (gRPC)")


def _is_endpoint(text: str) -> bool:
    try:
        url = urlsplit(text)
        has_address = bool(url.hostname and url.port)
    except ValueError:  # the port is no number of one, or brackets are not closed
        return False
    is_plain = not (url.username or url.password or url.path.strip("/") or url.query)
    return url.scheme in ("http", "https") and has_address and is_plain


class LogFormat(Enum):
    """How a log event becomes a line."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsConfig:
    """How log events are written to standard error, those of the shards too.

    format: plain (key=value), json (one object a line), or auto, which is plain, with colours where it is a terminal.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    format: LogFormat = LogFormat.AUTO
