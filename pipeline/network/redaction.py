"""The secrets that this process was told, struck out of whatever it says. The last net: nothing should get this far."""

from __future__ import annotations

import base64
import re
import threading
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pipeline.network.urls import MASK

_MOST_SECRETS = 10_000  # of the newest
_SHORTEST = 4  # a shorter one would be struck out of every other word
_SECRET_KEY = re.compile(r"(?i)pass|pwd|token|secret|auth|key|sig")
_PATH_VALUE = re.compile(r"([^&;/?#=]+)=([^&;/?#]+)")


class Redactor:
    """Knows secrets, in every form that a library writes them in. Any thread may use it."""

    def __init__(self) -> None:
        self._forms: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def remember(self, url: str) -> None:
        """Takes the passwords and keys that a URL holds for secrets."""
        with self._lock:
            before = len(self._forms)
            self._forms |= dict.fromkeys(form for form in _forms_in(url) if len(form) >= _SHORTEST)
            if len(self._forms) == before:
                return
            for oldest in list(self._forms)[: len(self._forms) - _MOST_SECRETS]:
                del self._forms[oldest]
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=len, reverse=True))))

    def redact(self, text: str) -> str:
        """The text without any secret that is known."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(MASK, text)


def _forms_in(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return set()
    user, password = parts.username or "", parts.password or ""
    named = [*parse_qsl(parts.query), *_PATH_VALUE.findall(parts.path)]
    secrets = {password, *(value for key, value in named if _SECRET_KEY.search(key))}
    forms = {form for secret in secrets if secret for form in _written(secret)}
    if password:
        # As Basic authentication sends it.
        forms.add(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode().rstrip("="))
    return forms


def _written(secret: str) -> set[str]:
    plain = unquote(secret)
    return {secret, plain, quote(plain), quote(plain, safe=""), base64.b64encode(plain.encode()).decode().rstrip("=")}


REDACTOR = Redactor()
