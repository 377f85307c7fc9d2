"""Names of cameras in messages and log lines, which stay short at any size of the fleet."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Collection, Sequence

_MAX_NAMES = 10
_MAX_NEAREST = 3
_MAX_NAME_CHARS = 80  # of the name that was sent; it may be of any length
# Comparing two long names takes 80 microseconds, and the event loop waits meanwhile.
_MAX_COMPARED = 200


def first_names(names: Sequence[str]) -> str:
    """The first ten of the names, and how many more there are."""
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def unknown_camera(name: str, names: Collection[str]) -> str:
    """Says that no camera is called `name`, and which of `names` are the nearest, at most three."""
    shown = name[:_MAX_NAME_CHARS]
    if not names:
        return f"camera {shown!r}: not watched here (no camera is)"
    nearest = _nearest(shown, names)
    found = (
        f"nearest name among {len(names)}: {', '.join(nearest)}" if nearest else f"no similar name among {len(names)}"
    )
    return f"camera {shown!r}: not watched here ({found})"


def _nearest(name: str, names: Collection[str]) -> list[str]:
    """The most similar names, the best first, of those that share the longest beginnings with `name`."""
    spelt = {other.lower(): other for other in names}
    compared = heapq.nlargest(_MAX_COMPARED, spelt, key=lambda other: _shared_chars(name.lower(), other))
    return [spelt[other] for other in difflib.get_close_matches(name.lower(), compared, _MAX_NEAREST)]


def _shared_chars(name: str, other: str) -> int:
    """The length of the beginning that two names share."""
    pairs = enumerate(zip(name, other, strict=False))
    return next((index for index, (one, two) in pairs if one != two), min(len(name), len(other)))
