"""The router that answers the command line in these tests, and its log elsewhere than the command's output."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog

from tests.actors.conftest import serving

__all__ = ["serving"]


@pytest.fixture(autouse=True)
def _log_elsewhere() -> Iterator[None]:
    """The router runs in this process, where a command's output is caught: its log is none of it."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))
    yield
    structlog.reset_defaults()
