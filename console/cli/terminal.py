"""What every command shares: the two consoles, the option for programs, and the exit codes."""

from __future__ import annotations

import os
import signal
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from console.cli import output

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

DONE, FAILURE, MISTAKE = 0, 1, 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def end_on_sigterm() -> None:
    """From here on SIGTERM, and SIGHUP unless it is ignored, do what Ctrl-C does at that moment.

    A job that a shell starts in the background ignores Ctrl-C, and would ignore them too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            # To the process, not to this thread: another one may wait for it (interruption.ending_at_once).
            signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGINT))


def fail(message: str, code: int) -> NoReturn:
    """Prints one line of error and ends the program with this exit code."""
    leave(report(message, code))


def leave(code: int) -> NoReturn:
    """Ends the program with this exit code."""
    raise typer.Exit(code)


def report(message: str, code: int) -> int:
    """Prints "error: MESSAGE" as one line on standard error; returns the exit code."""
    err.print(f"error: {output.printable('; '.join(message.splitlines()))}", style="red", markup=False)
    return code


def warn(message: str | None) -> None:
    """Prints "warning: MESSAGE" as one line on standard error; nothing if there is none."""
    if message is not None:
        err.print(f"warning: {output.printable(message)}", style="yellow", markup=False)


def require_text(name: str, text: str) -> None:
    """Ends the program if an argument has bytes that are not UTF-8: no message and no YAML can carry them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        fail(f"{name}: {text!r} is not UTF-8 text", MISTAKE)


def print_table(table: Table) -> None:
    """Prints a list on standard output, folded to the width of the terminal, 80 columns where there is none."""
    out.print(table, soft_wrap=False)


def print_sentences(console: Console, text: str, *, style: str = "") -> None:
    """Prints text, on a terminal wrapped between words: it would break them itself. Elsewhere a line stays a line."""
    console.print(text, style=style, markup=False, soft_wrap=not console.is_terminal)


def print_step(console: Console, step: str) -> None:
    """Prints what a command that takes long does next."""
    console.print(f"{step} …", style="dim", markup=False)


def print_json(value: object) -> None:
    """Prints one line of JSON on standard output. Not by rich, which takes seconds for megabytes."""
    typer.echo(output.as_json(value))
