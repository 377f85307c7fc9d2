"""What every command shares: where it prints, its usual options, the way to a running hermes, and how it ends."""

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

FAILURE = 1
MISTAKE = 2

Address = Annotated[str, typer.Option("--address", help="HOST:PORT of a running hermes.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="Holds the token that the server wants.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def connected(address: str, token_file: Path | None) -> Iterator[HermesClient]:
    """A client for the time of the block; its errors end the program with one line."""
    try:
        with HermesClient(address, token=_token(token_file)) as hermes:
            yield hermes
    except ClientError as error:
        fail(str(error), MISTAKE if error.is_mistake else FAILURE)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"token file {str(path)!r}: {getattr(error, 'strerror', None) or error}", MISTAKE)


def fail(message: str, code: int) -> NoReturn:
    """Ends the program with one line."""
    err.print(f"error: {output.printable(message)}", style="red", markup=False)
    leave(code)


def leave(code: int) -> NoReturn:
    """Ends the program."""
    raise typer.Exit(code)
