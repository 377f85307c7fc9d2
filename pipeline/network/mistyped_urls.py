"""Recognises a network URL that was written wrongly. Imports nothing, because the command line uses it too."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"(?i)\W*(rtsps?|https?)\W?//")
_ADDRESS = re.compile(r"(?i)(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+(%\w+)?\])([:/]|$)")


def has_scheme(text: str) -> bool:
    """Whether it has the scheme of a URL, or what was meant as one: with a wrong sign before, in or behind it."""
    return "://" in text or _SCHEME.match(text) is not None


def begins_with_address(text: str) -> bool:
    """Whether it begins with an IP address instead of a scheme, as the name of a file may too."""
    return _ADDRESS.match(text) is not None
