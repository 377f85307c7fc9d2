"""A time as people read it in a message."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(at_s: float) -> str:
    """A Unix time, to the second."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
