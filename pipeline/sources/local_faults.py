"""Faults of this process while it reads a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.cameras import SourceUnreachable


@contextmanager
def as_unreachable() -> Iterator[None]:
    """Has MemoryError and OSError raised as SourceUnreachable: what this process or the system lacks may come back."""
    try:
        yield
    except MemoryError:
        raise SourceUnreachable("no memory for its video") from None
    except OSError as error:
        raise SourceUnreachable(f"its video cannot be read: {error.strerror or type(error).__name__}") from None
