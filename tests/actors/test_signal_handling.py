"""A signal that comes while Ray starts ends the start, whatever its handler does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from actors.signal_handling import keeping_sigterm, losing_no_signal


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, lambda *_: None)  # as if what it raises were lost
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_whose_exception_was_lost_interrupts_behind_the_block(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), losing_no_signal():
        signal.raise_signal(number)


def test_without_a_signal_to_end_nothing_is_raised() -> None:
    with losing_no_signal():
        signal.raise_signal(signal.SIGUSR1)


def test_an_error_of_the_block_is_raised_as_it_is() -> None:
    def fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError

    with pytest.raises(RuntimeError), losing_no_signal():
        fail()


def test_the_wakeup_descriptor_is_what_it_was_before() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with losing_no_signal():
        pass

    after = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(after)
    assert after == before


def test_in_another_thread_the_block_runs_as_it_is() -> None:
    done = threading.Event()

    def run() -> None:
        with losing_no_signal(), keeping_sigterm():
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done.is_set()


def test_a_handler_that_the_block_sets_does_not_stay() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with keeping_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    assert signal.getsignal(signal.SIGTERM) is before
