"""The command line. Answers go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failure, 2 the user's mistake.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.cli import cameras, output, terminal
from console.cli.terminal import Address, Json, TokenFile
from console.client import answers
from console.client.client import DEFAULT_ADDRESS

app = typer.Typer(
    help="Talk to your cameras.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(cameras.cameras, name="cameras")
app.add_typer(cameras.shards, name="shards")


@app.command()
def ask(
    question: Annotated[str, typer.Argument()],
    camera: Annotated[str, typer.Option("--camera", "-c", help="The camera to ask.")],
    as_json: Json = False,
    max_tokens: Annotated[int, typer.Option(min=0, help="Longest answer; 0: the server's default.")] = 0,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Ask a camera; the answer is printed as it comes."""
    with terminal.connected(address, token_file) as hermes:
        events = hermes.ask(camera, question, max_answer_tokens=max_tokens)
        answer = answers.listen(camera, question, events, on_text=_ignore if as_json else _print_piece)
    if as_json:
        terminal.out.print(output.as_json(output.answer_json(answer)), markup=False)
        return
    terminal.out.print()
    for warning in answer.warnings:
        terminal.err.print(f"warning: {output.printable(warning)}", style="yellow", markup=False)
    terminal.err.print(output.answer_notes(answer), style="dim", markup=False)


@app.command()
def serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="A YAML file.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v")] = False,
) -> None:
    """Run a system until it is told to stop."""
    from console.cli import serve as serving

    terminal.leave(serving.serve(config, terminal.err, is_verbose=verbose))


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Which scenes are seen.")] = 7,
    exit_after_answers: Annotated[bool, typer.Option("--exit-after-answers", help="Do not stay up.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per question.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Of the router; 0: any free one.")] = None,
) -> None:
    """Four cameras, two shards, eight questions, each beside the truth."""
    from console.demo import demo as show
    from console.demo.demo import DemoOptions

    terminal.leave(show.run(DemoOptions(seed, exit_after_answers, as_json, port), terminal.out, terminal.err))


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A YAML file; without it, the defaults.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine this machine: can it run hermes?"""
    from console.cli import serve as serving

    terminal.leave(serving.examine(config, terminal.out, terminal.err, as_json=as_json))


def main() -> None:
    """The entry point."""
    app()


def _print_piece(text: str) -> None:
    terminal.out.print(output.printable(text), end="", markup=False)
    sys.stdout.flush()


def _ignore(_: str) -> None:
    pass


if __name__ == "__main__":
    main()
