"""The server's certificates for gRPC, read again when their files change."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import cast

import grpc
import structlog
from cryptography import x509

from actors.config.tls import TlsConfig
from actors.errors import ConfigError

log = structlog.get_logger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


def server_credentials(
    files: TlsConfig, on_read: Callable[[datetime], None] = lambda _: None
) -> grpc.ServerCredentials:
    """Credentials that follow the files. Raises ConfigError for files that cannot be used now.

    on_read: called, in any thread, with the end of each certificate that is read and used from then on.
    Files that cannot be used later, e.g. a certificate whose new key is not there yet, are logged, and connections go
    on with the last good ones, which the log says, and until when their certificate is valid.
    """
    certificates = _Certificates(files, on_read)
    # The stubs do not know that None stands for no change.
    changed = cast(Callable[[], grpc.ServerCertificateConfiguration], certificates.changed)
    return grpc.dynamic_ssl_server_credentials(
        certificates.first(), changed, require_client_authentication=files.client_ca is not None
    )


class _Certificates:
    """The contents of the files. gRPC calls `changed` in its own threads, before each handshake."""

    def __init__(self, files: TlsConfig, on_read: Callable[[datetime], None]) -> None:
        self._on_read = on_read
        paths = {"certificate": files.certificate, "key": files.key, "client_ca": files.client_ca}
        self._paths = {name: _expanded(name, path) for name, path in paths.items() if path is not None}
        self._stamp: Stamp = ()
        self._failure = ""
        self._valid_until = ""  # of the certificate in use, in UTC

    def first(self) -> grpc.ServerCertificateConfiguration:
        stamp = self._stamp_of_files()
        configuration = self._read()
        self._stamp = stamp
        return configuration

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The contents if the files have changed since they were read, else None."""
        try:
            stamp = self._stamp_of_files()
            if stamp == self._stamp:
                return None
            configuration = self._read()
        except ConfigError as error:
            if str(error) != self._failure:
                log.warning(
                    "certificate_not_reloaded",
                    reason=str(error),
                    consequence="the certificate that was read before stays in use",
                    valid_until=self._valid_until,
                )
            self._failure = str(error)
            return None
        self._stamp, self._failure = stamp, ""
        log.info("certificate_reloaded", file=str(self._paths["certificate"]), valid_until=self._valid_until)
        return configuration

    def _read(self) -> grpc.ServerCertificateConfiguration:
        contents = {name: _content(name, path) for name, path in self._paths.items()}
        certificate, key = self._paths["certificate"], self._paths["key"]
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"router.tls.certificate {str(certificate)!r} with router.tls.key {str(key)!r}: not a certificate and "
                f"its key without a passphrase: {getattr(error, 'reason', None) or error}"
            ) from error
        client_ca = contents.get("client_ca")
        if client_ca is not None:
            _require_authorities(client_ca, self._paths["client_ca"])
        # Without one of those that it is signed with, no client trusts the first.
        chain = x509.load_pem_x509_certificates(contents["certificate"])
        valid_until = min(certificate.not_valid_after_utc for certificate in chain)
        self._valid_until = valid_until.isoformat(timespec="seconds")
        self._on_read(valid_until)
        pair = (contents["key"], contents["certificate"])
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=client_ca)

    def _stamp_of_files(self) -> Stamp:
        return tuple(_stamp(name, path) for name, path in self._paths.items())


def _require_authorities(pem: bytes, path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem.decode())
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ConfigError(f"router.tls.client_ca {str(path)!r}: no certificates in PEM") from error


def _expanded(name: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"router.tls.{name} {str(path)!r}: {error}") from error


def _stamp(name: str, path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(f"router.tls.{name} {str(path)!r}: {error.strerror}") from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def _content(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"router.tls.{name} {str(path)!r}: {error.strerror}") from error
