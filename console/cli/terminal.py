"""What every command shares: the two consoles, the common options, the connection to a server, and the exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from console.cli import output
from console.client.client import ClientError, HermesClient

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

DONE, FAILURE, MISTAKE = 0, 1, 2

Address = Annotated[str, typer.Option("--address", help="HOST:PORT of a running hermes.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="File that holds the server's token.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def connected(address: str, token_file: Path | None) -> Iterator[HermesClient]:
    """A client for the time of the block. A ClientError ends the program with one line and its exit code."""
    try:
        with HermesClient(address, token=_read_token(token_file)) as hermes:
            yield hermes
    except ClientError as error:
        fail(str(error), MISTAKE if error.is_mistake else FAILURE)


def fail(message: str, code: int) -> NoReturn:
    """Prints one line of error and ends the program with this exit code."""
    leave(report(message, code))


def leave(code: int) -> NoReturn:
    """Ends the program with this exit code."""
    raise typer.Exit(code)


def report(message: str, code: int) -> int:
    """Prints "error: MESSAGE" as one line on standard error; returns the exit code."""
    err.print(f"error: {output.printable(message)}", style="red", markup=False)
    return code


def print_json(value: object) -> None:
    """Prints one line of JSON on standard output."""
    out.print(output.as_json(value), markup=False)


def _read_token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"token file {str(path)!r}: {getattr(error, 'strerror', None) or error}", MISTAKE)
