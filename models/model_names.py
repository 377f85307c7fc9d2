"""What is known of models by name without loading one: similar names, and what the tiny ones were made for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

DRAWN_STREETS = "drawn streets"  # all that the tiny models know


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of a message, with the most similar of the names; empty without a similar one."""
    spelt = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), spelt, n=1)
    return f"; did you mean {spelt[close[0]]!r}?" if close else ""
