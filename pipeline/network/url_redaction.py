"""Redacts camera URLs, and what libraries say about them, for output. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

MASK = "***"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# Greedy, because an unquoted password may contain any character, '@', '/', '#' and line ends too.
_PARTS = re.compile(r"(?s)(?P<head>[^:]*:/*)((?P<userinfo>.*)@)?(?P<rest>[^#]*)")
_VALUE = re.compile(r"(?P<key>[^=&;/?#]*)=(?P<value>[^&;/?#]+)")
# In the place of a port: it may be a password whose '@' was forgotten.
_NO_PORT = re.compile(r"(?<=:)(?!\d{1,5}(?:[/?#]|$))[^]:/?#]+(?=[/?#]|$)")
# Values that tell the cameras of one recorder apart.
_PUBLIC_VALUE = re.compile(r"\d{1,3}(\.sdp)?")
_SECRET_KEY = re.compile(r"(?i)pass|pwd|token|secret|auth|key|sig|user|usr|login|pin|code")
_LOGIN_KEY = re.compile(r"(?i)pass|pwd|token|secret|auth|sig|sess(?!iontimeout)|user|usr|login|key")
_MIN_SECRET = 4  # characters; a shorter one would be masked inside of ordinary words and numbers


def redact(url: str) -> str:
    """The URL without credentials and without the values in its path and query, but small numbers: safe to show."""
    return _masked(url, lambda value: not _is_public(value))


def redact_logins(url: str) -> str:
    """The URL without credentials, and without the values in its path and query that may be a login.

    For the URL that a server names and an operator is to write: any other value is a part of what it names. One value
    may hold several: user=NAME_password=WORD_channel=1.
    """
    return _masked(url, lambda value: _LOGIN_KEY.search(value[0].rpartition("=")[0]) is not None)


def scrub(text: str, url: str) -> str:
    """A library's message about `url` without the secrets of `url`, raw or percent-decoded."""
    text = text.replace(url, redact(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _masked(url: str, is_secret: Callable[[re.Match[str]], bool]) -> str:
    """The URL without credentials, and without those matches of _VALUE that are secret."""

    def mask(value: re.Match[str]) -> str:
        return f"{value['key']}={MASK}" if is_secret(value) else value[0]

    if (parts := _parts(url)) is None:
        return url
    return parts["head"] + _VALUE.sub(mask, _NO_PORT.sub(MASK, parts["rest"], count=1))


def _secrets(url: str) -> set[str]:
    if (parts := _parts(url)) is None:
        return set()
    userinfo = parts["userinfo"] or ""
    values = {value["value"] for value in _VALUE.finditer(url) if not _is_public(value)}
    found = {*values, userinfo, *userinfo.split(":", 1)}
    return {form for secret in found for form in (secret, unquote(secret)) if len(form) >= _MIN_SECRET}


def _is_public(value: re.Match[str]) -> bool:
    return bool(_PUBLIC_VALUE.fullmatch(value["value"])) and not _SECRET_KEY.search(value["key"])


def _parts(url: str) -> re.Match[str] | None:
    """Head, userinfo and rest of the URL; None for a scheme that has no secrets."""
    scheme = _SCHEME.match(url)
    return None if scheme is None or scheme[1].lower() in ("sim", "file") else _PARTS.match(url)
