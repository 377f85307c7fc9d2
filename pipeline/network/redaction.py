"""Redacts the secrets of all cameras from logs and messages.

This is the last line of defence: messages should not contain secrets in the first place.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cache_store.url_logins import is_ambiguous
from pipeline.network.url_redaction import MASK

_MIN_LENGTH = 4  # a shorter secret would be redacted inside ordinary words
_NUM_FORGOTTEN_KEPT = 1_000
_SECRET_KEY = re.compile(r"(?i)pass|pwd|token|secret|auth|key|sig")
_PATH_VALUE = re.compile(r"([^&;/?#=]+)=([^&;/?#]+)")


class Redactor:
    """Replaces known secrets, in every encoding that a library may write them in. Thread-safe.

    A text is searched in one pass, and a secret is added or forgotten, at a cost that does not grow with the number of
    secrets: they are found by their first characters and their lengths.
    """

    def __init__(self) -> None:
        self._uses: Counter[str] = Counter()
        self._lengths: dict[str, Counter[int]] = {}  # of the secrets, by their first characters
        self._forgotten: deque[set[str]] = deque()
        self._lock = threading.Lock()

    def remember(self, url: str) -> None:
        """Treats the passwords and keys in `url` as secrets, until it is forgotten as often as it was remembered."""
        self._add(_forms_in(url))

    def remember_secret(self, secret: str) -> None:
        """Treats the whole text as a secret from now on."""
        self._add(_encodings(secret))

    def forget(self, url: str) -> None:
        """Ends one `remember` of the URL. Late lines may still hold its secrets, so the last 1,000 URLs stay known."""
        with self._lock:
            self._forgotten.append(_forms_in(url))
            if len(self._forgotten) > _NUM_FORGOTTEN_KEPT:
                self._remove(self._forgotten.popleft())

    @contextmanager
    def remembering(self, url: str) -> Iterator[None]:
        """Treats the passwords and keys in `url` as secrets for the time of the block."""
        self.remember(url)
        try:
            yield
        finally:
            self.forget(url)

    def __len__(self) -> int:
        """How many texts are known as secrets; one secret is several, one for each encoding."""
        return len(self._uses)

    def redact(self, text: str) -> str:
        """`text` with every known secret replaced by the mask."""
        with self._lock:
            spans = list(self._spans(text))
        if not spans:
            return text
        pieces, at = [], 0
        for start, end in spans:
            pieces += [text[at:start], MASK]
            at = end
        return "".join((*pieces, text[at:]))

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where known secrets stand, in order; secrets that overlap are one span."""
        first = end = 0
        for start in range(len(text) - _MIN_LENGTH + 1):
            if start >= end > first:
                yield first, end
                first = end
            lengths = self._lengths.get(text[start : start + _MIN_LENGTH])
            length = max((n for n in lengths if text[start : start + n] in self._uses), default=0) if lengths else 0
            if length:
                first, end = (start if start >= end else first), max(end, start + length)
        if end > first:
            yield first, end

    def _add(self, forms: Iterable[str]) -> None:
        with self._lock:
            for form in forms:
                self._uses[form] += 1
                if self._uses[form] == 1:
                    self._lengths.setdefault(form[:_MIN_LENGTH], Counter())[len(form)] += 1

    def _remove(self, forms: Iterable[str]) -> None:
        for form in forms:
            self._uses[form] -= 1
            if self._uses[form] <= 0 and self._uses.pop(form) == 0:
                _decrement(self._lengths, form)


def _decrement(lengths: dict[str, Counter[int]], form: str) -> None:
    of_prefix = lengths[form[:_MIN_LENGTH]]
    of_prefix[len(form)] -= 1
    if not of_prefix[len(form)]:
        del of_prefix[len(form)]
    if not of_prefix:
        del lengths[form[:_MIN_LENGTH]]


def _forms_in(url: str) -> set[str]:
    try:
        if is_ambiguous(url):
            raise ValueError
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
        pairs = [*parse_qsl(parts.query), *_PATH_VALUE.findall(f"{parts.path}?{parts.query}")]
    except ValueError:  # no URL, and yet the text that its sender sees again in the error
        user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
        pairs = _PATH_VALUE.findall(url)
    secrets = {password, *(value for key, value in pairs if _SECRET_KEY.search(key))}
    forms = {form for secret in secrets if secret for form in _encodings(secret)}
    if password:
        # The form that Basic authentication sends.
        forms |= _long_enough([_base64(f"{unquote(user)}:{unquote(password)}")])
    return forms


def _encodings(secret: str) -> set[str]:
    plain = unquote(secret)
    quoted = {quote(plain), quote(plain, safe=""), _lower_case_quoted(plain)}
    escaped = {json.dumps(plain)[1:-1], repr(plain)[1:-1], html.escape(plain)}
    return _long_enough({secret, plain, _base64(plain)} | quoted | escaped)


def _long_enough(forms: Iterable[str]) -> set[str]:
    return {form for form in forms if len(form) >= _MIN_LENGTH}


def _lower_case_quoted(plain: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), quote(plain, safe=""))


def _base64(plain: str) -> str:
    return base64.b64encode(plain.encode()).decode().rstrip("=")


REDACTOR = Redactor()
