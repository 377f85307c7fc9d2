"""How the device reports that a unit of its work failed. The caller that makes the engine chooses the logger."""

from __future__ import annotations

import logging
from typing import Protocol


class FailureReport(Protocol):
    """Called on the device thread; must not block and must not raise. A bound structlog method fits."""

    def __call__(self, event: str, **fields: object) -> object: ...


def to_logging(event: str, **fields: object) -> None:
    """The standard library's log, for programs that have set up no other."""
    logging.getLogger(__name__).error("%s %s", event, " ".join(f"{name}={value}" for name, value in fields.items()))
