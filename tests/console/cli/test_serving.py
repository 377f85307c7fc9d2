"""When a signal ends a running system, from the line on that says so."""

from __future__ import annotations

import io
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from unittest.mock import Mock

import pytest
from rich.console import Console

from actors import system
from actors.config.schema import HermesConfig
from console.cli import serving


class ImpatientTerminal(io.StringIO):
    """Presses Ctrl-C as soon as it is told to."""

    def write(self, text: str) -> int:
        if "Ctrl-C ends it" in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


@pytest.fixture
def sigint_by_default() -> Iterator[None]:
    """As on a terminal, also where the tests are a job of the background, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint_by_default")
def test_ctrl_c_right_behind_the_line_that_names_it_ends_the_system_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken as one during the start: exit code 1, and "stopped before the system was ready"."""
    ended = []

    @asynccontextmanager
    async def running(*_: object, **__: object) -> AsyncIterator[system.System]:
        yield system.System("127.0.0.1:1", Mock())
        ended.append("in order")

    monkeypatch.setattr(system, "running", running)

    serving.run(HermesConfig(), logging.INFO, Console(file=ImpatientTerminal()), is_verbose=True)

    assert ended == ["in order"]
