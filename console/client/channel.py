"""The connection of a client to a server: clear text on this machine, TLS beyond it."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from console.client.errors import InvalidCredentials
from console.client.proxies import is_loopback

_MAX_PORT = 65_535
_DIRECT = [("grpc.enable_http_proxy", 0)]  # no proxy leads to this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a client, and whether it may do without TLS.

    ca: certificate of the authority that signed the server's; None: the public authorities. cert and key: what the
    client shows to a server that asks for a certificate. is_insecure: clear text, to other machines too.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    is_insecure: bool = False

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidCredentials("a client's certificate and its key need each other: give both, cert and key")
        if self.is_insecure and (self.ca or self.cert):
            raise InvalidCredentials("insecure: without TLS there is no use for ca, cert and key")


def open_channel(address: str, files: TlsFiles) -> grpc.Channel:
    """A channel to HOST:PORT, over TLS if files are given or the host is another machine. Raises InvalidCredentials."""
    if not _is_address(address):
        raise InvalidCredentials(f"address {address!r}: is not HOST:PORT, for example localhost:50051")
    options = _DIRECT if is_loopback(address) else []
    if not uses_tls(address, files):
        return grpc.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read("ca", files.ca),
        private_key=_read("key", files.key),
        certificate_chain=_read("cert", files.cert),
    )
    _require_pem(files)  # gRPC would say of every one of them that it could not connect
    return grpc.secure_channel(address, credentials, options)


def _is_address(address: str) -> bool:
    found = re.fullmatch(r"unix:.+|.*[^:]:([0-9]{1,5})", address.removeprefix("dns:"))
    is_url = address.startswith(("http://", "https://"))
    return address.isprintable() and found is not None and not is_url and int(found[1] or 0) <= _MAX_PORT


def uses_tls(address: str, files: TlsFiles) -> bool:
    """Whether the channel to this address is encrypted."""
    return not files.is_insecure and bool(files.ca or files.cert or not is_loopback(address))


def _read(name: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        raise InvalidCredentials(f"{name} {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error


def _require_pem(files: TlsFiles) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca is not None:
        try:
            context.load_verify_locations(files.ca.expanduser())
        except ssl.SSLError as error:
            raise InvalidCredentials(f"ca {str(files.ca)!r}: no certificates in PEM") from error
    if files.cert is None or files.key is None:
        return
    try:
        context.load_cert_chain(files.cert.expanduser(), files.key.expanduser(), password="")
    except ssl.SSLError as error:
        raise InvalidCredentials(
            f"cert {str(files.cert)!r} with key {str(files.key)!r}: not a certificate and its key without a "
            f"passphrase: {error.reason or error}"
        ) from error
