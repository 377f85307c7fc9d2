"""Runs a system until a signal ends it. Imports torch and Ray."""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import nullcontext
from functools import partial

from rich.console import Console

from actors import ray_cluster, system
from actors.config.schema import HermesConfig
from console.cli import terminal


def run(config: HermesConfig, log_level: int, err: Console, *, is_verbose: bool) -> None:
    """Runs the system until SIGINT. Raises ServiceError, StoreError, and KeyboardInterrupt before it is ready."""
    with nullcontext() if is_verbose else ray_cluster.without_ray_messages():
        asyncio.run(_serve(config, log_level, err))


def stop_request() -> asyncio.Event:
    """Set by SIGINT from here on, and by what terminal.end_on_sigterm turns into it.

    Call it before the user is told that Ctrl-C ends the program: an earlier signal raises KeyboardInterrupt.
    """
    is_requested = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, is_requested.set)
    return is_requested


async def _serve(config: HermesConfig, log_level: int, err: Console) -> None:
    # A full collection of garbage stops this process; over ten thousand cameras it took up to a second. It passes over
    # what was frozen: what was imported, and then the records of all cameras.
    gc.freeze()
    async with system.running(config, log_level=log_level, on_progress=partial(terminal.print_step, err)) as running:
        gc.freeze()
        stop = stop_request()
        err.print(f"serving on {running.address}; Ctrl-C ends it", markup=False)
        await stop.wait()
