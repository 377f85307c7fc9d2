"""HTTP authentication: Digest (RFC 7616) where the server offers it, else Basic (RFC 7617)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.request import parse_http_list, parse_keqv_list

# What to do about a 401, over HTTP and RTSP alike.
LOGIN_HINT = (
    "it wants a login, or another one: --user and --password-file, or user and password_file in the configuration"
)
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """The login sent to a camera."""

    user: str
    password: str = field(repr=False)


def authorization(challenges: Iterable[str], credentials: Credentials, method: str, target: str) -> str | None:
    """The Authorization header for a request of `target`, None if no challenge is of a supported scheme."""
    offered = {scheme.lower(): rest for scheme, _, rest in (challenge.partition(" ") for challenge in challenges)}
    if "digest" in offered:
        return _digest(parse_keqv_list(parse_http_list(offered["digest"])), credentials, method, target)
    return _basic(credentials) if "basic" in offered else None


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _digest(challenge: dict[str, str], credentials: Credentials, method: str, target: str) -> str | None:
    algorithm = challenge.get("algorithm", "MD5").upper()
    qops = [qop.strip() for qop in challenge.get("qop", "").split(",") if qop.strip()]
    if algorithm not in _HASHES or "nonce" not in challenge or (qops and "auth" not in qops):
        return None
    realm, nonce = challenge.get("realm", ""), challenge["nonce"]
    fields = {"username": credentials.user, "realm": realm, "nonce": nonce, "uri": target}
    secret = _hash(algorithm, credentials.user, realm, credentials.password)
    request = _hash(algorithm, method, target)
    if qops:
        count, client_nonce = "00000001", secrets.token_hex(8)
        fields |= {
            "response": _hash(algorithm, secret, nonce, count, client_nonce, "auth", request),
            "cnonce": client_nonce,
        }
    else:
        fields["response"] = _hash(algorithm, secret, nonce, request)
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    unquoted = f", algorithm={algorithm}" + (f", qop=auth, nc={count}" if qops else "")
    return "Digest " + ", ".join(f'{name}="{_escape(value)}"' for name, value in fields.items()) + unquoted


def _hash(algorithm: str, *parts: str) -> str:
    return hashlib.new(_HASHES[algorithm], ":".join(parts).encode(), usedforsecurity=False).hexdigest()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
