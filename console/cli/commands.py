"""The commands. Answers go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failure, 2 mistake of the user, 130 Ctrl-C. What one command alone needs is imported late.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated

from console.client import grpc_environment  # noqa: F401

# isort: split

import typer

from console.cli import interruption, terminal
from console.cli.ask import ask
from console.cli.cameras import cameras
from console.cli.fleet import fleet
from console.cli.node import node
from console.cli.onvif import discover, probe
from console.cli.shards import shards
from console.cli.terminal import DONE, FAILURE, MISTAKE, Json

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(ask)
cameras.command("discover")(discover)
cameras.command("probe")(probe)
app.add_typer(cameras, name="cameras")
app.add_typer(shards, name="shards")
app.add_typer(node, name="node")
app.add_typer(fleet, name="fleet")


def _print_version(is_given: bool) -> None:
    if is_given:
        terminal.out.print(f"hermes {importlib.metadata.version('hermes-cameras')}")
        terminal.leave(DONE)


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Talk to your cameras."""


@app.command()
def serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="A YAML file.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log debug events and the messages of Ray.")] = False,
) -> None:
    """Run a system until SIGINT or SIGTERM."""
    from console.cli import serve as serve_command

    terminal.leave(serve_command.serve(config, terminal.err, is_verbose=verbose))


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Which scenes the cameras show.")] = 7,
    exit_after_answers: Annotated[bool, typer.Option("--exit-after-answers", help="Do not stay up.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per question.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Of the router; 0: any free one.")] = None,
) -> None:
    """Four cameras, two shards, eight questions, each answer beside the truth."""
    from console.cli import demo as demo_command
    from console.demo.options import DemoOptions

    terminal.leave(demo_command.demo(DemoOptions(seed, exit_after_answers, as_json, port)))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def plan(context: typer.Context) -> None:
    """How many GPUs, how much store and network do so many cameras need? Asks no server."""
    from console.cli import plan as plan_command

    plan_command.run(context.args)


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A YAML file; without it, the defaults.")
    ] = None,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Instead: decode, remember and answer on the GPU, compared with the CPU.")
    ] = False,
    device: Annotated[str, typer.Option("--device", hidden=True, help="Of --gpu: cuda, or cpu to try it.")] = "cuda",
    as_json: Json = False,
) -> None:
    """Examine this machine: can it run hermes?"""
    # Nothing that a check starts or writes has to be ended in order: its run folder is cleared by a process of its own.
    if gpu and config is not None:
        terminal.fail("--gpu: it reads no configuration; leave --config out", MISTAKE)
    with interruption.ending_at_once():
        if gpu:
            from console.cli import gpu_doctor

            terminal.leave(gpu_doctor.examine(device, terminal.out, as_json=as_json))
        from console.cli import doctor as doctor_command

        terminal.leave(doctor_command.examine(config, terminal.out, as_json=as_json))


@app.command()
def certs(
    folder: Annotated[Path, typer.Option("--folder", help="Where to write the files.")] = Path("certs"),
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address of the server for other machines; repeat it for more. Always: localhost."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=825, help="How long the certificates are good.")] = 365,
) -> None:
    """Make a development CA, and certificates for a server and a client. Again: renews the two, the CA stays."""
    from console.cli import certs as certs_command

    terminal.leave(certs_command.make(folder, host or (), days))


def run() -> None:
    """Runs the command that the arguments name, and ends the program with its exit code."""
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # it may be closed
                sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        # A full disk. What is still in the buffer would fail once more at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(terminal.report(f"standard output: {error.strerror or error}", FAILURE))
