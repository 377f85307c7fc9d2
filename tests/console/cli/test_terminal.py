"""Which signals end a command: those that whoever started it did not make it ignore, but for Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from console.cli import terminal


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores the handlers of signals after the test."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_job_of_the_background_as_ctrl_c_does(number: signal.Signals) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(number, signal.SIG_DFL)
    terminal.end_on_sigterm()

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.usefixtures("handlers")
def test_a_command_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    terminal.end_on_sigterm()

    signal.raise_signal(signal.SIGHUP)


def test_an_error_of_two_lines_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report("what is missing\nhow to bring it", terminal.FAILURE)

    assert "error: what is missing; how to bring it" in capsys.readouterr().err
