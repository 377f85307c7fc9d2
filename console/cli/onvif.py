"""`hermes cameras discover` and `probe`: finds devices with ONVIF and lists their streams. Asks no server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from console.cli import camera_options, output, terminal
from console.cli.camera_options import CaFile, PasswordFile, Pin, TlsName, User
from console.cli.terminal import DONE, FAILURE, Json

NOTED_CLOCK_S = 5  # a difference that is told


def discover(
    interface: Annotated[
        str | None, typer.Option("--interface", help="The network interface to ask on, e.g. eth0.")
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=0.1, max=60, help="Seconds to wait for answers.")] = 4,
    as_json: Json = False,
) -> None:
    """Find cameras and recorders with ONVIF on one network interface, by WS-Discovery. Fails if none answers."""
    from console.cli import local_onvif

    devices = local_onvif.discover(interface, wait)
    if as_json:
        terminal.print_json(devices)
        terminal.leave(DONE if devices else FAILURE)
    if not devices:
        terminal.fail(f"no device answered on {interface} within {wait:g} s: ONVIF may be off in it", FAILURE)
    for one in devices:
        what = " · ".join(filter(None, (one["name"], one["hardware"], one["address"])))
        _print_lines(what, one["urls"] or ["it does not say where its ONVIF is"])
    terminal.err.print("next: hermes cameras probe ADDRESS --user USER --password-file FILE", markup=False)


def probe(
    host: Annotated[str, typer.Argument(metavar="HOST", help="HOST, HOST:PORT or the URL of the device's ONVIF.")],
    user: User = None,
    password_file: PasswordFile = None,
    pin: Pin = None,
    ca_file: CaFile = None,
    tls_name: TlsName = None,
    as_json: Json = False,
) -> None:
    """List the streams of a camera or recorder with ONVIF: URLs, sizes and rates. This machine asks it, no server."""
    from console.cli import local_onvif

    tls = {"tls_certificate_sha256": pin, "tls_ca": camera_options.read_ca(ca_file), "tls_name": tls_name}
    device = local_onvif.probe(host, user, password_file, tls)
    if as_json:
        terminal.print_json(device)
        return
    _warn_of_clock(device["clock_ahead_s"])
    for remark in dict.fromkeys(stream["remark"] for stream in device["streams"]):
        terminal.warn(remark or None)
    named = " ".join(filter(None, (device["name"] or "a device without a name", device["firmware"])))
    terminal.out.print(output.printable(named), markup=False)
    for stream in device["streams"]:
        _print_lines(_stream_facts(stream), [stream["url"] or "no URL"])
    terminal.err.print("next: hermes cameras add NAME 'URL' --user USER --password-file FILE", markup=False)


def _warn_of_clock(ahead_s: float | None) -> None:
    if ahead_s is None:
        terminal.warn("the device does not tell the time of its clock: a login may fail for that")
    elif abs(ahead_s) >= NOTED_CLOCK_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        text = f"the device's clock is {abs(ahead_s):,.0f} s {direction} this machine's: set it, by NTP best"
        terminal.warn(f"{text} (the login was made for its clock)")


def _stream_facts(stream: dict[str, Any]) -> str:
    size = f"{stream['width']}x{stream['height']}" if stream["width"] and stream["height"] else None
    rate = None if stream["fps"] is None else f"{stream['fps']:g} fps"
    every = stream["key_frames_every"]
    facts = (stream["codec"] or "no video", size, rate, f"a key frame every {every} frames" if every else None)
    return f"{stream['name'] or stream['profile']}: {', '.join(filter(None, facts))}"


def _print_lines(title: str, lines: Iterable[str]) -> None:
    """A line, and below it others, whole, to be copied."""
    for line in (title, *(f"    {line}" for line in lines)):
        terminal.out.print(output.printable(line), markup=False)
