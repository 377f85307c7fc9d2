"""Makes an authority for development and certificates that it signs. Knows neither gRPC nor the configuration."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from actors.errors import CertificatesNotMade, InvalidHost

DEFAULT_HOSTS = ("localhost", "127.0.0.1", "::1")
_CA_DAYS = 3650
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$)(\*\.)?({_LABEL}\.)*(?![0-9]+\.?$){_LABEL}\.?")
# A clock that is a little behind must not refuse a new certificate.
_BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certificates:
    """The PEM files of an authority, a server and a client: each certificate, and its key beside it."""

    folder: Path

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}-key.pem"


def make(folder: Path, *, hosts: Sequence[str] = DEFAULT_HOSTS, days: int = 365) -> Certificates:
    """Writes ca, server and client certificates with their keys to `folder`; the server's is for `hosts`.

    An authority that is there already signs again, so that the certificates can be renewed; those of the server and
    the client are replaced. Raises CertificatesNotMade, InvalidHost.
    """
    files = Certificates(folder)
    try:
        names = [_general_name(host) for host in hosts]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca, ca_key = _authority(files)
        _issue(files, "server", (ca, ca_key), days=days, names=names, usage=ExtendedKeyUsageOID.SERVER_AUTH)
        _issue(files, "client", (ca, ca_key), days=days, names=(), usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    except FileExistsError as error:
        raise CertificatesNotMade(f"certificates in {str(folder)!r}: it is no folder") from error
    except OSError as error:
        raise CertificatesNotMade(f"certificates in {str(folder)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise CertificatesNotMade(f"certificates in {str(folder)!r}: {error}") from error
    return files


def _authority(files: Certificates) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if files.certificate("ca").exists() or files.key("ca").exists():
        return _earlier_authority(files.certificate("ca"), files.key("ca"))
    new_key = ec.generate_private_key(ec.SECP256R1())
    name = _name("hermes development CA")
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        _builder(name, name, new_key, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(new_key, hashes.SHA256())
    )
    _write(files, "ca", ca, new_key)
    return ca, new_key


def _earlier_authority(certificate: Path, key: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A new authority in its place would be one that no client trusts."""
    for file, other in ((certificate, key), (key, certificate)):
        if not file.exists():
            raise ValueError(f"{file.name} is missing beside {other.name}; put it back, or use another folder")
    try:
        ca = x509.load_pem_x509_certificate(certificate.read_bytes())
        ca_key = serialization.load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{certificate.name} and {key.name}: {error}; put the right ones back") from error
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey) or ca_key.public_key() != ca.public_key():
        raise ValueError(f"{key.name} is not the key of {certificate.name}; put the right one back")
    return ca, ca_key


def _issue(
    files: Certificates,
    name: str,
    authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    *,
    days: int,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
) -> None:
    ca, ca_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(f"hermes {name}"), ca.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    _write(files, name, builder.sign(ca_key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _write(files: Certificates, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(files.key(name), private, 0o600)
    _replace(files.certificate(name), certificate.public_bytes(pem), 0o644)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that a reader sees whole or not at all, and that nobody can read before its mode is set."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    new.replace(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise InvalidHost(f"host {host[:80]!r} is neither a host name nor an IP address") from None
        return x509.DNSName(host)
