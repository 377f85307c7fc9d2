"""`hermes cameras`: adds, tests, lists, shows, removes and migrates cameras."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from console.cli import output, terminal
from console.cli.connection import Server, takes_server
from console.cli.terminal import DONE, FAILURE, MISTAKE, Json
from protos import hermes_v1_pb2 as pb

cameras = typer.Typer(help="Add, test, list, show, remove and migrate cameras.", no_args_is_help=True)


class Pace(StrEnum):
    """How a file is played."""

    LIVE = "live"
    FAST = "fast"


_PACES = {Pace.LIVE: pb.PACE_LIVE, Pace.FAST: pb.PACE_FAST}

CameraName = Annotated[str, typer.Argument(metavar="NAME")]
User = Annotated[str | None, typer.Option("--user", help="The camera's user; its password: --password-file.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="File that holds the camera's password.")]
Mask = Annotated[
    list[str] | None,
    typer.Option(help="A polygon to black out, as corners in 0..1: '0,0 0.5,0 0.5,0.3'. Repeat it for more."),
]
Gate = Annotated[bool, typer.Option(help="Skip patches that do not change.")]
Rate = Annotated[
    float | None, typer.Option("--rate", help="Frames sampled per second; by default the server's ingest.sample_fps.")
]
Label = Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE. Repeat it for more.")]


@cameras.command("add")
@takes_server
def add_camera(
    server: Server,
    name: CameraName,
    url: Annotated[str, typer.Argument(help="sim:SCENE?seed=N, a file, rtsp(s):// or http(s)://")],
    user: User = None,
    password_file: PasswordFile = None,
    pace: Annotated[Pace, typer.Option(help="How a file is played.")] = Pace.LIVE,
    mask: Mask = None,
    gate: Gate = True,
    loop: Annotated[bool, typer.Option("--loop", help="Play a recording again whenever it has ended.")] = False,
    rate: Rate = None,
    label: Label = None,
    as_json: Json = False,
) -> None:
    """Add a camera; returns when its first frame has arrived."""
    request = pb.AddCameraRequest(
        name=name,
        url=_full_url(url, user, password_file),
        pace=_PACES[pace],
        gate=gate,
        masks=[_parse_mask(text) for text in mask or ()],
        loop=loop,
        frames_per_second=rate,
        labels=_parse_labels(label),
    )
    with server.connected() as hermes:
        camera = hermes.add_camera(request)
    _print_camera(camera, as_json)


@cameras.command("test")
@takes_server
def probe_camera(
    server: Server,
    url: Annotated[str, typer.Argument(help="As for add.")],
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Open a URL for some seconds without adding it: show its video, or why there is none. Fails without video."""
    full_url = _full_url(url, user, password_file)
    with server.connected() as hermes:
        result = hermes.test_camera(full_url)
    if as_json:
        terminal.print_json(output.probe_json(result))
    else:
        terminal.out.print(output.probe_details(result), markup=False)
    terminal.leave(FAILURE if result.reason else DONE)


@cameras.command("list")
@takes_server
def list_cameras(
    server: Server,
    prefix: Annotated[str, typer.Option("--prefix", help="Only cameras whose name begins so.")] = "",
    state: Annotated[
        list[str] | None, typer.Option(help="Only cameras in this state, e.g. live. Repeat it for more.")
    ] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="Only cameras on this shard.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only cameras with this KEY=VALUE.")] = None,
    as_json: Json = False,
) -> None:
    """Show the state of all cameras, or of those that pass every filter."""
    selection = pb.ListCamerasRequest(
        name_prefix=prefix,
        states=[pb.CameraState.Name(_parse_state(text)) for text in state or ()],
        shard=shard,
        labels=_parse_labels(label),
        view=pb.CAMERA_VIEW_FULL if as_json else pb.CAMERA_VIEW_BASIC,
    )
    with server.connected() as hermes:
        listed = hermes.list_cameras(selection)
    if as_json:
        terminal.print_json([output.camera_json(camera) for camera in listed])
    else:
        terminal.out.print(output.camera_table(listed))


@cameras.command("show")
@takes_server
def show_camera(
    server: Server,
    name: CameraName,
    as_json: Json = False,
) -> None:
    """Show the state of one camera and its memory."""
    with server.connected() as hermes:
        _print_camera(hermes.get_camera(name), as_json)


@cameras.command("remove")
@takes_server
def remove_camera(server: Server, name: CameraName) -> None:
    """Stop a camera and delete its memory."""
    with server.connected() as hermes:
        hermes.remove_camera(name)
    terminal.err.print(f"camera {name!r} removed", markup=False)


@cameras.command("migrate")
@takes_server
def migrate_camera(
    server: Server,
    name: CameraName,
    to: Annotated[
        int | None, typer.Option("--to", min=0, help="A shard; by default the other one with the fewest cameras.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Move a camera and its whole memory to another shard."""
    with server.connected() as hermes:
        _print_camera(hermes.migrate_camera(name, to), as_json)


def _full_url(url: str, user: str | None, password_file: Path | None) -> str:
    """The URL as the server needs it: a file with its absolute path, a network camera with user and password."""
    if user is None:
        if password_file is not None:
            terminal.fail("--password-file: it needs --user beside it", MISTAKE)
        return _with_absolute_path(url)
    # Imported here, so that every other command starts without this room.
    from actors.config import camera_entries
    from actors.config.camera_entries import InvalidEntry

    try:
        return camera_entries.with_user(url, user, str(password_file) if password_file else None)
    except InvalidEntry as error:
        option = "--" + str(error.key[0]).replace("_", "-")
        terminal.fail(f"{option}: {error}", MISTAKE)


def _with_absolute_path(url: str) -> str:
    """A file with its absolute path, because the server may run in another folder; any other URL unchanged."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        return url
    return str(Path(url).absolute())


def _parse_mask(mask: str) -> pb.Mask:
    """The polygon of "X,Y X,Y …". Raises typer.BadParameter."""
    polygon = pb.Mask()
    for corner in mask.split():
        try:
            x, y = map(float, corner.split(","))
        except ValueError:
            raise typer.BadParameter(f"{corner!r} is no corner: write X,Y", param_hint="--mask") from None
        polygon.corners.add(x=x, y=y)
    return polygon


def _parse_state(text: str) -> int:
    """The state of this name. Raises typer.BadParameter."""
    states = {output.state_name(number): number for number in pb.CameraState.values() if number}
    if text not in states:
        raise typer.BadParameter(f"{text!r} is no state: {', '.join(states)}", param_hint="--state")
    return states[text]


def _parse_labels(labels: list[str] | None) -> dict[str, str]:
    """The labels of KEY=VALUE texts. Raises typer.BadParameter."""
    pairs = [text.partition("=") for text in labels or ()]
    for key, equals, _ in pairs:
        if not equals:
            raise typer.BadParameter(f"{key!r} is no label: write KEY=VALUE", param_hint="--label")
    return {key: value for key, _, value in pairs}


def _print_camera(camera: pb.Camera, as_json: bool) -> None:
    if as_json:
        terminal.print_json(output.camera_json(camera))
    else:
        terminal.out.print(output.camera_details(camera))
