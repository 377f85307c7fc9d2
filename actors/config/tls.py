"""The TLS files of the server (`router.tls` in the YAML)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """PEM files for encrypted connections. A file that changes is read again before the next connection.

    certificate: certificate of the server, with the intermediate ones behind it; `hermes certs` makes one.
    key: private key of the certificate.
    client_ca: certificates of authorities; every client must show a certificate of one of them; null: none needs one.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    certificate: Path
    key: Path
    client_ca: Path | None = None
