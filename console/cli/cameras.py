"""`hermes cameras` and `hermes shards`: what is watched, and by whom."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from console.cli import output, terminal
from console.cli.terminal import FAILURE, MISTAKE, Address, Json, TokenFile
from console.client.client import DEFAULT_ADDRESS
from protos import hermes_v1_pb2 as pb

cameras = typer.Typer(help="Add, test, show, move and remove cameras.", no_args_is_help=True)
shards = typer.Typer(help="Show shards and empty them.", no_args_is_help=True)

CameraName = Annotated[str, typer.Argument(metavar="NAME")]


class Pace(StrEnum):
    """How a file is played."""

    LIVE = "live"
    FAST = "fast"


User = Annotated[str | None, typer.Option("--user", help="Of a camera on the network; its password: --password-file.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="Holds the camera's password.")]

_MASK_HELP = "A polygon to black out, as corners in 0..1: '0,0 0.5,0 0.5,0.3'. Repeat it for more."
_PACES = {Pace.LIVE: pb.PACE_LIVE, Pace.FAST: pb.PACE_FAST}


@cameras.command("add")
def add_camera(
    name: CameraName,
    url: Annotated[str, typer.Argument(help="sim:SCENE?seed=N, a file, rtsp(s):// or http(s)://")],
    user: User = None,
    password_file: PasswordFile = None,
    pace: Annotated[Pace, typer.Option(help="How a file is played.")] = Pace.LIVE,
    mask: Annotated[list[str] | None, typer.Option(help=_MASK_HELP)] = None,
    gate: Annotated[bool, typer.Option(help="Leave unread what does not change in the picture.")] = True,
    as_json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Watch a camera."""
    masks = [_corners_of(text) for text in mask or ()]
    whole = _whole(url, user, password_file)
    with terminal.connected(address, token_file) as hermes:
        added = hermes.add_camera(name, whole, _PACES[pace], masks=masks, gate=gate)
    _print_camera(added, as_json)


@cameras.command("test")
def inspect_camera(
    url: Annotated[str, typer.Argument(help="As for add.")],
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Look at a URL for some seconds: what it gives, or why it gives nothing. Fails if it gives no pictures."""
    whole = _whole(url, user, password_file)
    with terminal.connected(address, token_file) as hermes:
        found = hermes.test_camera(whole)
    terminal.out.print(
        output.as_json(output.inspection_json(found)) if as_json else output.inspection_details(found), markup=False
    )
    terminal.leave(FAILURE if found.reason else 0)


@cameras.command("list")
def list_cameras(
    as_json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """How all cameras are doing."""
    with terminal.connected(address, token_file) as hermes:
        found = hermes.list_cameras()
    if as_json:
        terminal.out.print(output.as_json([output.camera_json(camera) for camera in found]), markup=False)
    else:
        terminal.out.print(output.camera_table(found))


@cameras.command("show")
def show_camera(
    name: CameraName,
    as_json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """How one camera and its memory are doing."""
    with terminal.connected(address, token_file) as hermes:
        _print_camera(hermes.get_camera(name), as_json)


@cameras.command("remove")
def remove_camera(name: CameraName, address: Address = DEFAULT_ADDRESS, token_file: TokenFile = None) -> None:
    """Stop a camera and delete its memory."""
    with terminal.connected(address, token_file) as hermes:
        hermes.remove_camera(name)
    terminal.err.print(f"camera {name!r} removed", markup=False)


@cameras.command("migrate")
def migrate_camera(
    name: CameraName,
    to: Annotated[int | None, typer.Option("--to", min=0, help="A shard; else the emptiest other one.")] = None,
    as_json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Move a camera, with all that it remembers, to another shard."""
    with terminal.connected(address, token_file) as hermes:
        _print_camera(hermes.migrate_camera(name, to), as_json)


@shards.command("list")
def list_shards(
    as_json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """How all shards are doing."""
    with terminal.connected(address, token_file) as hermes:
        found = hermes.list_shards()
    if as_json:
        shown = [output.shard_json(shard) for shard in found.shards]
        terminal.out.print(output.as_json({"shards": shown, "headroom": found.headroom}), markup=False)
        return
    terminal.out.print(output.shard_table(found.shards))
    terminal.err.print(output.headroom_note(found.headroom), markup=False)


@shards.command("drain")
def drain_shards(
    index: Annotated[int | None, typer.Argument(metavar="[SHARD]", min=0)] = None,
    node: Annotated[str | None, typer.Option("--node", help="Every shard of this machine or pod instead.")] = None,
    as_json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Move every camera of a shard away; it gets no new ones. A camera that stays for want of room is a failure."""
    if (index is None) == (node is None):
        terminal.fail("name either a shard or, with --node, a machine or pod", MISTAKE)
    with terminal.connected(address, token_file) as hermes:
        there = [shard.index for shard in hermes.list_shards().shards if shard.node == node]
        if node is not None and not there:
            terminal.fail(f"node {node!r}: no shard runs there", FAILURE)
        drained = [hermes.drain_shard(one) for one in (there if index is None else [index])]
    if as_json:
        terminal.out.print(output.as_json([output.shard_json(shard) for shard in drained]), markup=False)
    else:
        terminal.out.print(output.shard_table(drained))
    terminal.leave(FAILURE if any(shard.cameras for shard in drained) else 0)


def _whole(url: str, user: str | None, password_file: Path | None) -> str:
    """The URL as the server needs it: a file by its whole path, a camera with its user and password."""
    if user is None:
        if password_file is not None:
            terminal.fail("--password-file: it needs --user beside it", MISTAKE)
        return _with_whole_path(url)
    from actors.config import camera_entries
    from actors.config.camera_entries import InvalidEntry

    try:
        return camera_entries.with_user(url, user, str(password_file) if password_file else None)
    except InvalidEntry as error:
        option = "--" + str(error.key[0]).replace("_", "-")
        terminal.fail(f"{option}: {error}", MISTAKE)


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
        terminal.out.print(output.as_json(output.camera_json(camera)), markup=False)
    else:
        terminal.out.print(output.camera_details(camera))
