"""`hermes cameras`: adds, tests, lists, shows, updates, erases, removes and migrates cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from console.cli import camera_options, camera_output, output, terminal
from console.cli.camera_options import (
    PACES,
    CaFile,
    CameraName,
    Gate,
    Label,
    Mask,
    Pace,
    PasswordFile,
    Pin,
    Rate,
    Reset,
    TlsName,
    User,
)
from console.cli.connection import Server, takes_server
from console.cli.terminal import DONE, FAILURE, MISTAKE, Json
from protos import hermes_v1_pb2 as pb

cameras = typer.Typer(
    help="Find, add, test, list, show, update, erase, remove and migrate cameras.", no_args_is_help=True
)


@cameras.command("add")
@takes_server
def add_camera(
    server: Server,
    name: CameraName,
    url: Annotated[str, typer.Argument(help="sim:SCENE?seed=N, a file, rtsp(s):// or http(s)://")],
    user: User = None,
    password_file: PasswordFile = None,
    pace: Annotated[Pace, typer.Option(metavar="live|fast", help="How a file is played.")] = Pace.LIVE,
    mask: Mask = None,
    gate: Gate = True,
    loop: Annotated[bool, typer.Option("--loop", help="Play a recording again whenever it has ended.")] = False,
    rate: Rate = None,
    label: Label = None,
    pin: Pin = None,
    ca_file: CaFile = None,
    tls_name: TlsName = None,
    as_json: Json = False,
) -> None:
    """Add a camera; returns when its first frame has arrived."""
    request = pb.AddCameraRequest(
        name=name,
        url=camera_options.full_url(url, user, password_file),
        pace=PACES[pace],
        gate=gate,
        masks=[camera_options.parse_mask(text) for text in mask or ()],
        loop=loop,
        frames_per_second=rate,
        labels=camera_options.parse_labels(label),
        tls_certificate_sha256=pin,
        tls_ca=camera_options.read_ca(ca_file),
        tls_name=tls_name,
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
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Without a server: the YAML file whose `ingest` applies.")
    ] = None,
    pin: Pin = None,
    ca_file: CaFile = None,
    tls_name: TlsName = None,
    as_json: Json = False,
) -> None:
    """Open a URL for some seconds without adding it: show its video, or why there is none. Fails without video.

    The server opens it if --address or HERMES_ADDRESS names one, else this
    command itself. Then the `ingest` settings of a file, e.g. allowed networks
    and certificate authorities, apply only with --config.
    The login is that of --user.
    """
    full_url = camera_options.full_url(url, user, password_file)
    tls = {"tls_certificate_sha256": pin, "tls_ca": camera_options.read_ca(ca_file), "tls_name": tls_name}
    if server.address is not None:
        with server.connected() as hermes:
            result = hermes.test_camera(full_url, **tls)
    else:
        from console.cli import local_probe

        result = local_probe.probe(full_url, config, tls)
        terminal.warn(local_probe.config_hint(result, config))
    if as_json:
        terminal.print_json(camera_output.probe_json(result))
    else:
        terminal.out.print(camera_output.probe_details(result), markup=False)
    terminal.leave(FAILURE if result.reason else DONE)


@cameras.command("list")
@takes_server
def list_cameras(
    server: Server,
    prefix: Annotated[str, typer.Option("--prefix", help="Only cameras whose name begins so.")] = "",
    state: Annotated[
        list[str] | None, typer.Option(help="Only cameras in this state, e.g. live. Repeat it for more.")
    ] = None,
    shard: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Only cameras on this shard.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only cameras with this KEY=VALUE.")] = None,
    as_json: Json = False,
) -> None:
    """Show the state of all cameras, or of those that pass every filter.

    camera: its name.
    state: with the rate, where it is lowered. docs/cameras.md lists all states.
    shard: the index of the shard that watches it.
    newest: time of the newest frame in its memory.
    reason: why it gives no video, or what is wrong with its picture.
    url: without login, shortened in the middle; --json has it whole.
    """
    selection = pb.ListCamerasRequest(
        name_prefix=prefix,
        states=[pb.CameraState.Name(camera_options.parse_state(text)) for text in state or ()],
        shard=shard,
        labels=camera_options.parse_labels(label),
        view=pb.CAMERA_VIEW_FULL if as_json else pb.CAMERA_VIEW_BASIC,
    )
    with server.connected() as hermes:
        pages = list(hermes.list_pages(selection))
    listed = [camera for page in pages for camera in page.cameras]
    if as_json:
        terminal.print_json([camera_output.camera_json(camera) for camera in listed])
    else:
        terminal.print_table(camera_output.camera_table(listed, terminal.out.width))
    terminal.warn(output.store_note(pages[-1]))


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


@cameras.command("update")
@takes_server
def update_camera(
    server: Server,
    name: CameraName,
    url: Annotated[str | None, typer.Option("--url", help="Its new URL.")] = None,
    user: User = None,
    password_file: PasswordFile = None,
    mask: Mask = None,
    gate: Annotated[bool | None, typer.Option(help="Skip patches that do not change.")] = None,
    rate: Rate = None,
    label: Label = None,
    pin: Pin = None,
    ca_file: CaFile = None,
    tls_name: TlsName = None,
    reset: Reset = None,
    allow_memory_loss: Annotated[
        bool, typer.Option("--allow-memory-loss", help="The new URL may be another source: the memory goes then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Change a camera and keep its memory. What no option names stays; --mask and --label replace all it has."""
    if url is None and (user, password_file) != (None, None):
        terminal.fail("--user: it needs --url beside it, because hermes shows no URL with its credentials", MISTAKE)
    tls = {"tls_certificate_sha256": pin, "tls_ca": camera_options.read_ca(ca_file), "tls_name": tls_name}
    given = {"url": url, "masks": mask, "gate": gate, "frames_per_second": rate, "labels": label, **tls}
    fields = {field for field, value in given.items() if value is not None} | {one.field for one in reset or ()}
    if not fields:
        terminal.fail(
            "name what changes: --url, --mask, --gate, --rate, --label or --reset, or a --tls option", MISTAKE
        )
    request = pb.UpdateCameraRequest(
        name=name,
        update_mask=FieldMask(paths=sorted(fields)),
        url=None if url is None else camera_options.full_url(url, user, password_file),
        masks=map(camera_options.parse_mask, mask or ()),
        gate=gate,
        frames_per_second=rate,
        labels=camera_options.parse_labels(label),
        allow_memory_loss=allow_memory_loss,
        **tls,
    )
    with server.connected() as hermes:
        camera = hermes.update_camera(request)
    _print_camera(camera, as_json)


@cameras.command("erase")
@takes_server
def erase_memory(server: Server, name: CameraName, as_json: Json = False) -> None:
    """Forget what a camera has seen: memory and checkpoints. It goes on watching."""
    with server.connected() as hermes:
        camera = hermes.erase_memory(name)
    if as_json:
        terminal.print_json(camera_output.camera_json(camera))
    else:
        terminal.err.print(f"memory of camera {name!r} erased; it goes on watching", markup=False)


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


def _print_camera(camera: pb.Camera, as_json: bool) -> None:
    if as_json:
        terminal.print_json(camera_output.camera_json(camera))
    else:
        terminal.out.print(camera_output.camera_details(camera))
