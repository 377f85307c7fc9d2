"""How long to wait before something that failed is tried again."""

from __future__ import annotations

_MOST_DOUBLINGS = 64  # a power of two of thousands of failures is no float any more


def pause_s(first_s: float, last_s: float, failures_before: int) -> float:
    """Seconds: first_s the first time, twice as long after each further failure, at most last_s."""
    return min(last_s, first_s * 2.0 ** min(failures_before, _MOST_DOUBLINGS))
