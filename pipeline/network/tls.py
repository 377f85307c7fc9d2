"""How a camera's certificate is checked: by the system's authorities, by those of one camera, or by its hash."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from pipeline.cameras import SourceInvalid, SourceReason


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsRules:
    """What one camera's certificate must be.

    certificate_sha256: the SHA-256 of the only one that is accepted, in hex; nothing else about it is checked. ca:
    certificates (PEM) of authorities that are trusted too. name: what it must name, in place of the URL's host.
    """

    certificate_sha256: str = ""
    ca: str = ""
    name: str = ""


USUAL_RULES = TlsRules()  # the system's authorities and the URL's host


@dataclass(frozen=True, slots=True)
class TlsClient:
    """Checks the servers of one camera. Only a certificate of the hash `pin` is accepted, if there is one."""

    context: ssl.SSLContext
    pin: str = ""
    name: str = ""

    def is_pinned(self, certificate: bytes) -> bool:
        """Whether a certificate (DER) is the accepted one."""
        return hashlib.sha256(certificate).hexdigest() == self.pin

    def server_name(self, host: str) -> str:
        """What the certificate of a host must name: not the zone of an address, which only this machine knows."""
        return self.name or host.partition("%")[0]


@dataclass(frozen=True, slots=True)
class TlsClients:
    """Checks the servers that a camera's playlists lead to: its own host by its rules, others by the usual ones."""

    own: TlsClient
    others: TlsClient


def client(rules: TlsRules, ca_file: Path | None) -> TlsClient:
    """ca_file: authorities that are trusted for every camera. Raises SourceInvalid if it or rules.ca cannot be read."""
    context = ssl.create_default_context()
    if rules.certificate_sha256:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the hash says more
        return TlsClient(context, rules.certificate_sha256, rules.name)
    for label, options in (
        (f"ingest.ca_file {str(ca_file)!r}", {"cafile": ca_file}),
        ("tls_ca", {"cadata": rules.ca or None}),
    ):
        try:
            if any(options.values()):
                context.load_verify_locations(**options)
        except (OSError, ssl.SSLError, ValueError) as error:
            text = f"{label}: {getattr(error, 'strerror', None) or 'no certificates in PEM'}"
            raise SourceInvalid(text, SourceReason.TLS) from error
    return TlsClient(context, name=rules.name)
