"""Runs the command line in this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from typer.testing import CliRunner

from console.cli import commands


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


async def run(*arguments: str) -> Ended:
    """The command line in this process."""
    return await asyncio.to_thread(run_here, *arguments)


def run_here(*arguments: str) -> Ended:
    """The command line in this thread, which is the main one where a command sets signal handlers."""
    result = CliRunner().invoke(commands.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)
