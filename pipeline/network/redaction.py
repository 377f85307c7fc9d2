"""Redacts the secrets of all cameras from logs and messages.

This is the last line of defence: messages should not contain secrets in the first place.
"""

from __future__ import annotations

import base64
import re
import threading
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pipeline.network.urls import MASK

_MAX_FORMS = 10_000  # the oldest are dropped
_MIN_LENGTH = 4  # a shorter secret would be redacted inside ordinary words
_SECRET_KEY = re.compile(r"(?i)pass|pwd|token|secret|auth|key|sig")
_PATH_VALUE = re.compile(r"([^&;/?#=]+)=([^&;/?#]+)")


class Redactor:
    """Replaces known secrets, in every encoding that a library may write them in. Thread-safe."""

    def __init__(self) -> None:
        self._forms: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def remember(self, url: str) -> None:
        """Treats the passwords and keys in `url` as secrets from now on."""
        with self._lock:
            num_before = len(self._forms)
            self._forms |= dict.fromkeys(form for form in _forms_in(url) if len(form) >= _MIN_LENGTH)
            if len(self._forms) == num_before:
                return
            for oldest in list(self._forms)[: len(self._forms) - _MAX_FORMS]:
                del self._forms[oldest]
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=len, reverse=True))))

    def redact(self, text: str) -> str:
        """`text` with every known secret replaced by the mask."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(MASK, text)


def _forms_in(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return set()
    user, password = parts.username or "", parts.password or ""
    pairs = [*parse_qsl(parts.query), *_PATH_VALUE.findall(parts.path)]
    secrets = {password, *(value for key, value in pairs if _SECRET_KEY.search(key))}
    forms = {form for secret in secrets if secret for form in _encodings(secret)}
    if password:
        # The form that Basic authentication sends.
        forms.add(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode().rstrip("="))
    return forms


def _encodings(secret: str) -> set[str]:
    plain = unquote(secret)
    return {secret, plain, quote(plain), quote(plain, safe=""), base64.b64encode(plain.encode()).decode().rstrip("=")}


REDACTOR = Redactor()
