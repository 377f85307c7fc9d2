"""The command line. Answers go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failure, 2 the user's mistake.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from console import client, render, told
from protos import hermes_v1_pb2 as pb

app = typer.Typer(
    help="Talk to your cameras.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
cameras = typer.Typer(help="Add, test, show, move and remove cameras.", no_args_is_help=True)
app.add_typer(cameras, name="cameras")
shards = typer.Typer(help="Show shards and empty them.", no_args_is_help=True)
app.add_typer(shards, name="shards")

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

FAILURE = 1
MISTAKE = 2

Address = Annotated[str, typer.Option("--address", help="HOST:PORT of a running hermes.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="Holds the token that the server wants.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CameraName = Annotated[str, typer.Argument(metavar="NAME")]


class Pace(StrEnum):
    """How a file is played."""

    LIVE = "live"
    FAST = "fast"


_MASK_HELP = "A polygon to black out, as corners in 0..1: '0,0 0.5,0 0.5,0.3'. Repeat it for more."
_PACES = {Pace.LIVE: pb.PACE_LIVE, Pace.FAST: pb.PACE_FAST}


@app.command()
def ask(
    question: Annotated[str, typer.Argument()],
    camera: Annotated[str, typer.Option("--camera", "-c", help="The camera to ask.")],
    as_json: Json = False,
    max_tokens: Annotated[int, typer.Option(min=0, help="Longest answer; 0: the server's default.")] = 0,
    address: Address = client.DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Ask a camera; the answer is printed as it comes."""
    with _connected(address, token_file) as hermes:
        events = hermes.ask(camera, question, max_answer_tokens=max_tokens)
        answer = told.listen(camera, question, events, on_text=_ignore if as_json else _print_piece)
    if as_json:
        out.print(render.as_json(render.answer_json(answer)), markup=False)
        return
    out.print()
    for warning in answer.warnings:
        err.print(f"warning: {render.printable(warning)}", style="yellow", markup=False)
    err.print(render.answer_notes(answer), style="dim", markup=False)


@cameras.command("add")
def add_camera(
    name: CameraName,
    url: Annotated[str, typer.Argument(help="sim:SCENE?seed=N, a file, rtsp(s):// or http(s)://")],
    pace: Annotated[Pace, typer.Option(help="How a file is played.")] = Pace.LIVE,
    mask: Annotated[list[str] | None, typer.Option(help=_MASK_HELP)] = None,
    gate: Annotated[bool, typer.Option(help="Leave unread what does not change in the picture.")] = True,
    as_json: Json = False,
    address: Address = client.DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Watch a camera."""
    masks = [_corners_of(text) for text in mask or ()]
    with _connected(address, token_file) as hermes:
        added = hermes.add_camera(name, _with_whole_path(url), _PACES[pace], masks=masks, gate=gate)
    _print_camera(added, as_json)


@cameras.command("test")
def inspect_camera(
    url: Annotated[str, typer.Argument(help="As for add.")],
    as_json: Json = False,
    address: Address = client.DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Look at a URL for some seconds: what it gives, or why it gives nothing. Fails if it gives no pictures."""
    with _connected(address, token_file) as hermes:
        found = hermes.test_camera(_with_whole_path(url))
    out.print(
        render.as_json(render.inspection_json(found)) if as_json else render.inspection_details(found), markup=False
    )
    _exit(FAILURE if found.reason else 0)


@cameras.command("list")
def list_cameras(
    as_json: Json = False, address: Address = client.DEFAULT_ADDRESS, token_file: TokenFile = None
) -> None:
    """How all cameras are doing."""
    with _connected(address, token_file) as hermes:
        found = hermes.list_cameras()
    if as_json:
        out.print(render.as_json([render.camera_json(camera) for camera in found]), markup=False)
    else:
        out.print(render.camera_table(found))


@cameras.command("show")
def show_camera(
    name: CameraName, as_json: Json = False, address: Address = client.DEFAULT_ADDRESS, token_file: TokenFile = None
) -> None:
    """How one camera and its memory are doing."""
    with _connected(address, token_file) as hermes:
        _print_camera(hermes.get_camera(name), as_json)


@cameras.command("remove")
def remove_camera(name: CameraName, address: Address = client.DEFAULT_ADDRESS, token_file: TokenFile = None) -> None:
    """Stop a camera and delete its memory."""
    with _connected(address, token_file) as hermes:
        hermes.remove_camera(name)
    err.print(f"camera {name!r} removed", markup=False)


@cameras.command("migrate")
def migrate_camera(
    name: CameraName,
    to: Annotated[int | None, typer.Option("--to", min=0, help="A shard; else the emptiest other one.")] = None,
    as_json: Json = False,
    address: Address = client.DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Move a camera, with all that it remembers, to another shard."""
    with _connected(address, token_file) as hermes:
        _print_camera(hermes.migrate_camera(name, to), as_json)


@shards.command("list")
def list_shards(as_json: Json = False, address: Address = client.DEFAULT_ADDRESS, token_file: TokenFile = None) -> None:
    """How all shards are doing."""
    with _connected(address, token_file) as hermes:
        found = hermes.list_shards()
    if as_json:
        shown = [render.shard_json(shard) for shard in found.shards]
        out.print(render.as_json({"shards": shown, "headroom": found.headroom}), markup=False)
        return
    out.print(render.shard_table(found.shards))
    err.print(render.headroom_note(found.headroom), markup=False)


@shards.command("drain")
def drain_shards(
    index: Annotated[int | None, typer.Argument(metavar="[SHARD]", min=0)] = None,
    node: Annotated[str | None, typer.Option("--node", help="Every shard of this machine or pod instead.")] = None,
    as_json: Json = False,
    address: Address = client.DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Move every camera of a shard away; it gets no new ones. A camera that stays for want of room is a failure."""
    if (index is None) == (node is None):
        _fail("name either a shard or, with --node, a machine or pod", MISTAKE)
    with _connected(address, token_file) as hermes:
        there = [shard.index for shard in hermes.list_shards().shards if shard.node == node]
        if node is not None and not there:
            _fail(f"node {node!r}: no shard runs there", FAILURE)
        drained = [hermes.drain_shard(one) for one in (there if index is None else [index])]
    if as_json:
        out.print(render.as_json([render.shard_json(shard) for shard in drained]), markup=False)
    else:
        out.print(render.shard_table(drained))
    _exit(FAILURE if any(shard.cameras for shard in drained) else 0)


@app.command()
def serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="A YAML file.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v")] = False,
) -> None:
    """Run a system until it is told to stop."""
    from console import serving

    _exit(serving.serve(config, err, is_verbose=verbose))


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Which scenes are seen.")] = 7,
    exit_after_answers: Annotated[bool, typer.Option("--exit-after-answers", help="Do not stay up.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per question.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Of the router; 0: any free one.")] = None,
) -> None:
    """Four cameras, two shards, eight questions, each beside the truth."""
    from console import demo as show

    _exit(show.run(show.DemoOptions(seed, exit_after_answers, as_json, port), out, err))


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A YAML file; without it, the defaults.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine this machine: can it run hermes?"""
    from console import serving

    _exit(serving.examine(config, out, err, as_json=as_json))


def main() -> None:
    """The entry point."""
    app()


@contextmanager
def _connected(address: str, token_file: Path | None) -> Iterator[client.HermesClient]:
    """A client for the time of the block; its errors end the program with one line."""
    try:
        with client.HermesClient(address, token=_token(token_file)) as hermes:
            yield hermes
    except client.ClientError as error:
        _fail(str(error), MISTAKE if error.is_mistake else FAILURE)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"token file {str(path)!r}: {getattr(error, 'strerror', None) or error}", MISTAKE)
        raise AssertionError from error


def _with_whole_path(url: str) -> str:
    """A file's path as the server will find it, which may run in another folder; any other URL as it is."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        return url
    return str(Path(url).absolute())


def _corners_of(mask: str) -> list[tuple[float, float]]:
    """The corners in "X,Y X,Y …"."""
    corners = []
    for corner in mask.split():
        try:
            x, y = map(float, corner.split(","))
        except ValueError:
            raise typer.BadParameter(f"{corner!r} is no corner: write X,Y", param_hint="--mask") from None
        corners.append((x, y))
    return corners


def _print_camera(camera: pb.Camera, as_json: bool) -> None:
    if as_json:
        out.print(render.as_json(render.camera_json(camera)), markup=False)
    else:
        out.print(render.camera_details(camera))


def _print_piece(text: str) -> None:
    out.print(render.printable(text), end="", markup=False)
    sys.stdout.flush()


def _ignore(_: str) -> None:
    pass


def _fail(message: str, code: int) -> None:
    err.print(f"error: {render.printable(message)}", style="red", markup=False)
    _exit(code)


def _exit(code: int) -> None:
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
