"""HTTP authentication for HTTP and RTSP: Digest (RFC 7616) where the server offers it, else Basic (RFC 7617)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

# What to do about a 401, over HTTP and RTSP alike: by a command alone, or for a camera that a configuration may name.
COMMAND_LOGIN_HINT = "it wants a login, or another one: --user and --password-file"
LOGIN_HINT = f"{COMMAND_LOGIN_HINT}, or user and password_file in the configuration"
_HASHES = {"SHA-256": "sha256", "MD5": "md5"}  # the best one first
_ALGORITHMS = tuple(name + suffix for name in _HASHES for suffix in ("", "-SESS"))
_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm"})
_MAX_HEADER = 4096  # characters of it that are read
_ITEM = re.compile(
    r"""[\s,;="]*(?P<name>[^\s,;="]+)(?P<value>\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"?"""
    r"""|(?P<plain>[^,"]*?)(?=\s*(?:[,"]|$|\s[\w-]+\s*=))))?""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The login sent to a camera."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A way to log in that a server offers. scheme and the names of the parameters are in lower case."""

    scheme: str
    parameters: dict[str, str]


class Login:
    """Answers the challenges of one server, and keeps the one that it answers for the requests after it."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._challenge: Challenge | None = None
        self._num_answers = 0  # to this challenge

    def accept(self, headers: Iterable[str]) -> bool:
        """Takes the WWW-Authenticate headers of a 401; returns whether one of their challenges can be answered."""
        usable = [challenge for header in headers for challenge in parse_challenges(header) if _rank(challenge) >= 0]
        self._challenge = min(usable, key=_rank, default=None)
        self._num_answers = 0
        return self._challenge is not None

    def header(self, method: str, target: str) -> str | None:
        """The Authorization header of a request, None before the first challenge. Each one is for one request."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return _basic(self._credentials)
        self._num_answers += 1
        return _digest(self._challenge.parameters, self._credentials, method, target, self._num_answers)


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header, whatever else it holds: cameras leave out values, quotes and commas.

    Of a parameter that is given twice the first value counts. A word that is neither a scheme nor has a value is
    skipped.
    """
    challenges: list[Challenge] = []
    for item in _ITEM.finditer(header[:_MAX_HEADER]):
        name, quoted = item["name"].lower(), item["quoted"]
        if item["value"] is None:
            if name in _SCHEMES or not challenges:
                challenges.append(Challenge(name, {}))
        elif challenges:
            value = item["plain"].strip() if quoted is None else re.sub(r"(?s)\\(.)", r"\1", quoted)
            challenges[-1].parameters.setdefault(name, value)
    return challenges


def _rank(challenge: Challenge) -> int:
    """The place of a challenge among those that can be answered, the best one 0; -1 if it cannot be answered."""
    if challenge.scheme == "basic":
        return len(_ALGORITHMS)
    algorithm, qops = _algorithm(challenge.parameters), _qops(challenge.parameters)
    can_answer = challenge.scheme == "digest" and "nonce" in challenge.parameters and (not qops or "auth" in qops)
    return _ALGORITHMS.index(algorithm) if can_answer and algorithm in _ALGORITHMS else -1


def _algorithm(challenge: dict[str, str]) -> str:
    return challenge.get("algorithm", "").upper() or "MD5"


def _qops(challenge: dict[str, str]) -> list[str]:
    return re.findall(r"[^\s,]+", challenge.get("qop", "").lower())


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _digest(challenge: dict[str, str], credentials: Credentials, method: str, target: str, count: int) -> str:
    algorithm, nonce = _algorithm(challenge), challenge["nonce"]
    realm, client_nonce, number = challenge.get("realm", ""), secrets.token_hex(8), f"{count:08x}"
    fields = {"username": credentials.user, "realm": realm, "nonce": nonce, "uri": target}
    secret = _hash(algorithm, credentials.user, realm, credentials.password)
    if algorithm.endswith("-SESS"):
        secret = _hash(algorithm, secret, nonce, client_nonce)
    request = _hash(algorithm, method, target)
    has_qop = bool(_qops(challenge))
    middle = (nonce, number, client_nonce, "auth") if has_qop else (nonce,)
    fields["response"] = _hash(algorithm, secret, *middle, request)
    if has_qop or algorithm.endswith("-SESS"):
        fields["cnonce"] = client_nonce
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    unquoted = f", algorithm={algorithm.replace('SESS', 'sess')}" if challenge.get("algorithm") else ""
    unquoted += f", qop=auth, nc={number}" if has_qop else ""
    return "Digest " + ", ".join(f'{name}="{_escape(value)}"' for name, value in fields.items()) + unquoted


def _hash(algorithm: str, *parts: str) -> str:
    name = _HASHES[algorithm.removesuffix("-SESS")]
    return hashlib.new(name, ":".join(parts).encode(), usedforsecurity=False).hexdigest()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
