"""Answers to a web server that asks who is there: Digest (RFC 7616) where it is offered, else Basic (RFC 7617)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.request import parse_http_list, parse_keqv_list

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a camera is told that we are."""

    user: str
    password: str = field(repr=False)


def authorization(challenges: Iterable[str], credentials: Credentials, method: str, target: str) -> str | None:
    """The Authorization header for a request of `target`, None if nothing is asked for that is known here."""
    asked = {scheme.lower(): rest for scheme, _, rest in (challenge.partition(" ") for challenge in challenges)}
    if "digest" in asked:
        return _digest(parse_keqv_list(parse_http_list(asked["digest"])), credentials, method, target)
    return _basic(credentials) if "basic" in asked else None


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _digest(asked: dict[str, str], credentials: Credentials, method: str, target: str) -> str | None:
    algorithm = asked.get("algorithm", "MD5").upper()
    qops = [qop.strip() for qop in asked.get("qop", "").split(",") if qop.strip()]
    if algorithm not in _HASHES or "nonce" not in asked or (qops and "auth" not in qops):
        return None
    realm, nonce = asked.get("realm", ""), asked["nonce"]
    said = {"username": credentials.user, "realm": realm, "nonce": nonce, "uri": target}
    secret = _hashed(algorithm, credentials.user, realm, credentials.password)
    request = _hashed(algorithm, method, target)
    if qops:
        count, ours = "00000001", secrets.token_hex(8)
        said |= {"response": _hashed(algorithm, secret, nonce, count, ours, "auth", request), "cnonce": ours}
    else:
        said["response"] = _hashed(algorithm, secret, nonce, request)
    if "opaque" in asked:
        said["opaque"] = asked["opaque"]
    unquoted = f", algorithm={algorithm}" + (f", qop=auth, nc={count}" if qops else "")
    return "Digest " + ", ".join(f'{name}="{_escaped(value)}"' for name, value in said.items()) + unquoted


def _hashed(algorithm: str, *parts: str) -> str:
    return hashlib.new(_HASHES[algorithm], ":".join(parts).encode(), usedforsecurity=False).hexdigest()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
