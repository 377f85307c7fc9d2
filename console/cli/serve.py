"""`hermes serve`: runs the system that a file describes. Imports `actors`, so the command line imports it late."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from actors import logs, ray_cluster, system
from actors.config import loading
from actors.config.schema import HermesConfig
from actors.errors import ConfigError, ServiceError
from cache_store.errors import StoreError
from console.cli import terminal
from console.cli.terminal import DONE, FAILURE, MISTAKE


def serve(config: Path, err: Console, *, is_verbose: bool) -> int:
    """Runs the system until SIGINT or SIGTERM; returns the exit code."""
    log_level = logging.DEBUG if is_verbose else logging.INFO
    logs.log_to_stderr(log_level)
    terminal.end_on_sigterm()
    try:
        settings = loading.load_config(config)
    except ConfigError as error:
        return terminal.report(str(error), MISTAKE)
    with logs.json_lines(settings.logs.format):
        logs.log_to_stderr(log_level, settings.logs.format)
        return _run(settings, log_level, err, is_verbose=is_verbose)


def _run(settings: HermesConfig, log_level: int, err: Console, *, is_verbose: bool) -> int:
    try:
        _name_shared_store(settings, err)
        with nullcontext() if is_verbose else ray_cluster.without_ray_messages():
            asyncio.run(_serve(settings, log_level, err))
    except ConfigError as error:
        return terminal.report(str(error), MISTAKE)
    except (ServiceError, StoreError) as error:
        return terminal.report(str(error), FAILURE)
    except KeyboardInterrupt:
        err.print("stopped before the system was ready")
        return FAILURE
    return DONE


async def until_stopped() -> None:
    """Waits for SIGINT, and for what terminal.end_on_sigterm turns into it."""
    is_stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, is_stopped.set)
    await is_stopped.wait()


def _name_shared_store(settings: HermesConfig, err: Console) -> None:
    shared = loading.unused_shared_store(settings)
    if shared is not None:
        err.print(
            f"note: earlier versions kept the cameras of every configuration in {shared}; this configuration starts "
            f"with an empty store of its own. To go on with the old one, set store: embedded:{shared}",
            style="yellow",
            markup=False,
        )


async def _serve(config: HermesConfig, log_level: int, err: Console) -> None:
    def show_progress(message: str) -> None:
        err.print(f"{message} …", style="dim", markup=False)

    # A full collection of garbage stops this process; over ten thousand cameras it took up to a second. It passes over
    # what was frozen: what was imported, and then the records of all cameras.
    gc.freeze()
    async with system.running(config, log_level=log_level, on_progress=show_progress) as running:
        gc.freeze()
        err.print(f"serving on {running.address}; Ctrl-C ends it", markup=False)
        await until_stopped()
