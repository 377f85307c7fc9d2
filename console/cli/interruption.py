"""Ctrl-C where nothing has to be ended in order: the process ends at once, whatever it does at that moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # what a shell reports of a program that SIGINT ended
_OVER = signal.SIGURG  # ends the thread; a process that gets it ignores it


@contextmanager
def ending_at_once(before_end: Callable[[], None] = lambda: None) -> Iterator[None]:
    """During the block Ctrl-C ends the process with exit code 130 and without a message; no cleanup runs.

    before_end: called before that, as a rule in another thread, for what the terminal shows.

    KeyboardInterrupt is lost where it is raised in a callback of the interpreter, for example in an import or a
    `__del__`, and is raised only after a call into C. Therefore SIGINT is blocked here, and a thread waits for it.
    Threads and processes that start in the block have SIGINT blocked too; if a thread that started before gets the
    signal, the main thread ends the process when it returns from C.

    Where SIGINT is ignored, as in a job that a shell starts in the background, it stays ignored. In another thread than
    the main one nothing is done.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return

    def end(*_: object) -> None:
        try:
            before_end()
        finally:
            os._exit(INTERRUPTED)

    def wait_for_ctrl_c() -> None:
        # One signal for both would lose a Ctrl-C that comes at the end of the block.
        if signal.sigwait({signal.SIGINT, _OVER}) == signal.SIGINT:
            end()

    waiting = threading.Thread(target=wait_for_ctrl_c, name="Ctrl-C", daemon=True)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, _OVER})
    handler = signal.signal(signal.SIGINT, end)
    waiting.start()
    assert waiting.ident is not None
    try:
        yield
    finally:
        signal.pthread_kill(waiting.ident, _OVER)
        waiting.join()
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
