"""What signals do while Ray starts, which sets handlers of its own."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM})


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """After the block SIGTERM does what it did before: Ray's handlers end the program, one with a stack dump.

    Only the main thread can see to that, also where Ray starts in another thread during the block.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def losing_no_signal() -> Iterator[None]:
    """Raises KeyboardInterrupt behind the block if SIGINT or SIGTERM came during it and the block went on.

    What a handler raises is lost where it meets a callback of the interpreter, for example during an import. In another
    thread than the main one nothing is done: handlers never run there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
        try:
            numbers = reader.recv(4096)
        except BlockingIOError:
            return
    if _ENDING.intersection(numbers):
        raise KeyboardInterrupt
