"""`hermes serve` and `hermes doctor`: the subcommands that start or examine a system, behind the command line."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from actors import doctor, logs, system
from actors.config import schema
from actors.config.schema import HermesConfig
from actors.errors import ConfigError, ServiceError
from cache_store.checkpoint import StoreError
from console.cli import output

DONE, FAILURE, MISTAKE = 0, 1, 2


def serve(path: Path, err: Console, *, is_verbose: bool) -> int:
    """Runs the system that a file describes until SIGINT or SIGTERM; returns the exit code."""
    level = logging.DEBUG if is_verbose else logging.INFO
    logs.log_to_stderr(level)
    try:
        asyncio.run(_serve(schema.load_config(path), level, err))
    except (ServiceError, StoreError) as error:
        return complain(error, err)
    except KeyboardInterrupt:
        err.print("stopped before it was up")
        return FAILURE
    return DONE


def examine(path: Path | None, out: Console, err: Console, *, as_json: bool) -> int:
    """Prints what the doctor finds; returns the exit code."""
    logs.log_to_stderr(logging.ERROR)
    try:
        settings = schema.load_config(path) if path else HermesConfig()
    except ConfigError as error:
        return complain(error, err)
    findings = []
    for finding in doctor.examine(settings):
        findings.append(finding)
        if not as_json:
            mark = Text("ok  ", style="green") if finding.is_ok else Text("FAIL", style="red")
            out.print(mark, Text(f"{finding.name:<8}", style="bold"), Text(output.printable(finding.detail)))
    if as_json:
        out.print(
            output.as_json([{"name": one.name, "ok": one.is_ok, "detail": one.detail} for one in findings]),
            markup=False,
        )
    return DONE if all(finding.is_ok for finding in findings) else FAILURE


def complain(error: Exception, err: Console) -> int:
    """One line on what went wrong; returns the exit code."""
    err.print(f"error: {output.printable(str(error))}", style="red", markup=False)
    return MISTAKE if isinstance(error, ConfigError) else FAILURE


async def _serve(settings: HermesConfig, level: int, err: Console) -> None:
    def tell(progress: str) -> None:
        err.print(f"{progress} …", style="dim", markup=False)

    async with system.running(settings, log_level=level, on_progress=tell) as running:
        err.print(f"serving on {running.address}; Ctrl-C ends it", markup=False)
        await until_told_to_stop()
        err.print("saving memories …", style="dim")


async def until_told_to_stop() -> None:
    """Waits for SIGINT or SIGTERM."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    await told.wait()
