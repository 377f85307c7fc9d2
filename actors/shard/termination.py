"""Notices SIGTERM in the process of a Ray actor."""

from __future__ import annotations

from collections.abc import Callable

from actors import ray_environment  # noqa: F401

# isort: split

from ray._private import worker


def on_sigterm(end: Callable[[], None]) -> None:
    """Calls `end` on the main thread at SIGTERM, which then ends nothing by itself.

    Only the main thread can set a handler of a signal, and no code of an asynchronous actor ever runs there. The
    handler that Ray has set calls this function, found anew at each signal, to end the process at once.
    """
    worker.raise_sys_exit_with_custom_error_message = lambda *_, **__: end()
