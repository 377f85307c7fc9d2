"""Asks devices by ONVIF, from this process. Imports what speaks it, so the command line imports it late."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from console.cli import camera_options, terminal
from console.cli.terminal import FAILURE, MISTAKE
from pipeline.cameras import CameraError, CameraSpec, InvalidCamera, SourceError
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.network.url_redaction import redact
from pipeline.network.urls import NetworkUrl
from pipeline.onvif import device as onvif_device
from pipeline.onvif import discovery
from pipeline.onvif.device import Device, Stream
from pipeline.onvif.discovery import InterfaceError

_HOST = re.compile(r"\w+://\S")
_SERVICE_PATH = "/onvif/device_service"


def discover(interface: str | None, wait_s: float) -> list[dict[str, Any]]:
    """The devices that answer on an interface within `wait_s`, for programs. Ends the program on a mistake."""
    if interface is None:
        terminal.fail(f"--interface: name one of {', '.join(discovery.interfaces())}", MISTAKE)
    try:
        found = list(discovery.discover(interface, wait_s))
    except InterfaceError as error:
        terminal.fail(f"--interface: {error}", MISTAKE)
    return [asdict(device) | {"urls": list(device.urls)} for device in found]


def probe(host: str, user: str | None, password_file: Path | None, tls: Mapping[str, str | None]) -> dict[str, Any]:
    """What a device says of itself and its streams, for programs. Ends the program on a mistake or a failure."""
    try:
        url = _service_url(host, user, password_file, tls)
    except CameraError as error:
        terminal.fail(str(error), MISTAKE)
    with REDACTOR.remembering(url.url):  # what a device says may repeat what it was told
        try:
            return _device_json(onvif_device.probe(url), REDACTOR.redact)
        except SourceError as error:
            terminal.fail(REDACTOR.redact(str(error)), FAILURE)


def _service_url(host: str, user: str | None, password_file: Path | None, tls: Mapping[str, str | None]) -> NetworkUrl:
    """The URL of a device's service, with the login. Raises InvalidCamera."""
    text = host if "://" in host else f"http://{f'[{host}]' if _is_ipv6(host) else host}"
    if not urlsplit(_parse(text).url).path.strip("/"):
        text = f"{text.rstrip('/ ')}{_SERVICE_PATH}"
    full_url = camera_options.full_url(text, user, password_file)
    pin, authorities, name = (tls[key] or "" for key in ("tls_certificate_sha256", "tls_ca", "tls_name"))
    spec = CameraSpec(name="probe", url=full_url, tls_certificate_sha256=pin, tls_ca=authorities, tls_name=name)
    url = urls.parse_source(spec)
    assert isinstance(url, NetworkUrl)
    return url


def _parse(url: str) -> NetworkUrl:
    if not _HOST.match(url):
        raise InvalidCamera(f"HOST {url.removeprefix('http://')!r}: write HOST, HOST:PORT or an http(s) URL")
    parsed = urls.parse(url)
    if not isinstance(parsed, NetworkUrl) or parsed.scheme not in ("http", "https"):
        raise InvalidCamera(f"HOST {redact(url)!r}: write HOST, HOST:PORT or an http(s) URL")
    return parsed


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _device_json(device: Device, redact: Callable[[str], str]) -> dict[str, Any]:
    return {
        "name": redact(device.name),
        "firmware": redact(device.firmware),
        "clock_ahead_s": device.clock_ahead_s,
        "streams": [_stream_json(stream, redact) for stream in device.streams],
    }


def _stream_json(stream: Stream, redact: Callable[[str], str]) -> dict[str, Any]:
    profile, found = stream.profile, stream.url
    return {
        "profile": redact(profile.token),
        "name": redact(profile.name),
        "codec": None if profile.codec is None else redact(profile.codec),
        "width": profile.width,
        "height": profile.height,
        "fps": profile.fps,
        "key_frames_every": profile.key_frames_every,
        "url": None if found.url is None else redact(found.url),
        "remark": redact(found.remark),
    }
