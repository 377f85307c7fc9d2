"""The options of `hermes cameras`, and what their texts mean."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from console.cli import output, terminal
from console.cli.terminal import MISTAKE
from protos import hermes_v1_pb2 as pb


class Pace(StrEnum):
    """How a file is played."""

    LIVE = "live"
    FAST = "fast"


class Resettable(StrEnum):
    """What an update can set back to its default."""

    MASKS = "masks"
    GATE = "gate"
    RATE = "rate"
    LABELS = "labels"
    TLS_CERTIFICATE_SHA256 = "tls-certificate-sha256"
    TLS_CA_FILE = "tls-ca-file"
    TLS_NAME = "tls-name"

    @property
    def field(self) -> str:
        """The field of UpdateCameraRequest."""
        fields = {Resettable.RATE: "frames_per_second", Resettable.TLS_CA_FILE: "tls_ca"}
        return fields.get(self, self.value.replace("-", "_"))


PACES = {Pace.LIVE: pb.PACE_LIVE, Pace.FAST: pb.PACE_FAST}

# A URL, or what was meant as one: its scheme is incomplete, or missing before an address.
_URL = re.compile(r"(?i)^[a-z][a-z0-9+.-]*:|://|^\W*(rtsps?|https?)\W?//")
_ADDRESS = re.compile(r"(?i)(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+(%\w+)?\])([:/]|$)")

CameraName = Annotated[str, typer.Argument(metavar="NAME", help="The name of the camera.")]
User = Annotated[str | None, typer.Option("--user", help="The camera's user; its password: --password-file.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="File that holds the camera's password.")]
Mask = Annotated[
    list[str] | None,
    typer.Option(
        metavar="POLYGON", help="A polygon to black out, as corners in 0..1: '0,0 0.5,0 0.5,0.3'. Repeat it for more."
    ),
]
Gate = Annotated[bool, typer.Option(help="Skip patches that do not change.")]
Rate = Annotated[
    float | None,
    typer.Option("--rate", metavar="FPS", help="Frames sampled per second; by default the server's ingest.sample_fps."),
]
Pin = Annotated[
    str | None,
    typer.Option("--tls-certificate-sha256", help="SHA-256 of the only certificate accepted from it, 64 hex digits."),
]
CaFile = Annotated[
    Path | None, typer.Option("--tls-ca-file", help="PEM file of authorities that are trusted for it too.")
]
TlsName = Annotated[str | None, typer.Option("--tls-name", help="What its certificate must name; by default its host.")]
Label = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Repeat it for more.")]
Reset = Annotated[
    list[Resettable] | None,
    typer.Option(metavar="OPTION", help=f"Back to its default: {', '.join(Resettable)}. Repeat it for more."),
]


def full_url(url: str, user: str | None, password_file: Path | None) -> str:
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


def read_ca(path: Path | None) -> str | None:
    """The text of a PEM file."""
    if path is None:
        return None
    try:
        return path.expanduser().read_text()
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        terminal.fail(f"--tls-ca-file {str(path)!r}: {getattr(error, 'strerror', None) or error}", MISTAKE)


def _with_absolute_path(url: str) -> str:
    """A file with its absolute path, because the server may run in another folder; any other URL unchanged."""
    # The server refuses a mistyped URL, e.g. one with a quotation mark before it, and must see it as it is.
    is_meant_as_url = _URL.search(url) or (_ADDRESS.match(url) and not os.path.exists(url))
    if not url or is_meant_as_url:
        return url
    path = Path(url).absolute()
    # The server's messages name the path and its folder. A path without `..` keeps its links: they may change later.
    return os.path.join(os.path.realpath(path.parent), path.name) if ".." in path.parent.parts else str(path)


def parse_mask(mask: str) -> pb.Mask:
    """The polygon of "X,Y X,Y …". Raises typer.BadParameter."""
    polygon = pb.Mask()
    for corner in mask.split():
        try:
            x, y = map(float, corner.split(","))
        except ValueError:
            raise typer.BadParameter(f"{corner!r} is no corner: write X,Y", param_hint="--mask") from None
        polygon.corners.add(x=x, y=y)
    return polygon


def parse_state(text: str) -> int:
    """The state of this name. Raises typer.BadParameter."""
    states = {output.state_name(number): number for number in pb.CameraState.values() if number}
    if text not in states:
        raise typer.BadParameter(f"{text!r} is no state: {', '.join(states)}", param_hint="--state")
    return states[text]


def parse_labels(labels: list[str] | None) -> dict[str, str]:
    """The labels of KEY=VALUE texts. Raises typer.BadParameter."""
    pairs = [text.partition("=") for text in labels or ()]
    for key, equals, _ in pairs:
        if not equals:
            raise typer.BadParameter(f"{key!r} is no label: write KEY=VALUE", param_hint="--label")
    found = {key: value for key, _, value in pairs}
    if len(found) < len(pairs):
        raise typer.BadParameter("each key once: a camera has one value of it", param_hint="--label")
    return found
