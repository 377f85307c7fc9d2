"""The server that a command talks to: the options of every such command, or the variables in their place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from console.cli import terminal
from console.cli.terminal import FAILURE, MISTAKE
from console.client.channel import TlsFiles
from console.client.client import DEFAULT_ADDRESS, HermesClient
from console.client.errors import ClientError

if TYPE_CHECKING:
    from actors.tracing.tracer import Tracer

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a server listens, and what it must be shown. Each field is an option of the command line."""

    address: Annotated[
        str | None,
        typer.Option(
            "--address", envvar="HERMES_ADDRESS", help=f"HOST:PORT of a hermes, by default {DEFAULT_ADDRESS}."
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", envvar="HERMES_TOKEN_FILE", help="File that holds the server's token."),
    ] = None
    ca: Annotated[
        Path | None, typer.Option("--ca", envvar="HERMES_CA", help="Authority of the server's certificate: use TLS.")
    ] = None
    cert: Annotated[
        Path | None, typer.Option("--cert", envvar="HERMES_CERT", help="This client's certificate, with --key.")
    ] = None
    key: Annotated[Path | None, typer.Option("--key", envvar="HERMES_KEY", help="Key of --cert.")] = None
    insecure: Annotated[
        bool, typer.Option("--insecure", envvar="HERMES_INSECURE", help="No TLS, even to another machine.")
    ] = False

    traces: Annotated[
        str | None,
        typer.Option(
            "--traces", envvar="HERMES_TRACES", help="OTLP collector for spans of questions: http://HOST:PORT."
        ),
    ] = None

    @contextmanager
    def connected(self) -> Iterator[HermesClient]:
        """A client for the time of the block. A ClientError ends the program with one line and its exit code."""
        tracer = self._tracer() if self.traces else None
        try:
            files = TlsFiles(ca=self.ca, cert=self.cert, key=self.key, is_insecure=self.insecure)
            token = _read_token(self.token_file)
            with HermesClient(self.address or DEFAULT_ADDRESS, token=token, tls=files, tracer=tracer) as hermes:
                yield hermes
        except ClientError as error:
            terminal.fail(str(error), MISTAKE if error.is_mistake else FAILURE)
        finally:
            if tracer is not None:
                tracer.close()

    def _tracer(self) -> Tracer:
        # Only here, because no other command of a client needs the room of the server.
        from actors.config.observability import TracesConfig
        from actors.errors import ConfigError
        from actors.tracing.tracer import tracer_of

        try:
            return tracer_of(TracesConfig(endpoint=self.traces or ""), "hermes-client")
        except (ValueError, ConfigError) as error:
            terminal.fail(f"--traces: {error}", MISTAKE)


def takes_server(command: Callable[Concatenate[Server, P], None]) -> Callable[..., None]:
    """A command for typer whose first parameter becomes the options of Server."""
    options = inspect.signature(Server, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        _require_text(values)
        server = Server(**{name: values.pop(name) for name in options})
        command(server, **values)  # type: ignore[call-arg]

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *options.values())]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _read_token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        terminal.fail(f"token file {str(path)!r}: {getattr(error, 'strerror', None) or error}", MISTAKE)
    if not token:
        terminal.fail(f"token file {str(path)!r}: the file is empty", MISTAKE)
    return token


def _require_text(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        for text in value if isinstance(value, list) else (value,):
            if isinstance(text, str):
                terminal.require_text(name.replace("_", "-"), text)
