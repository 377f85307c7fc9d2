"""Opens what a camera's URL names."""

from __future__ import annotations

import ipaddress
import socket
import stat
from pathlib import Path

from pipeline.cameras import SourceInvalid, SourceUnreachable
from pipeline.ingest import IngestConfig
from pipeline.libav import MediaStream
from pipeline.media import MediaSource
from pipeline.playback import Playback, Source
from pipeline.sim import SimSource
from pipeline.urls import FileUrl, NetworkUrl, SimUrl, SourceUrl, redacted

_METADATA_SERVICE = ipaddress.ip_address("fd00:ec2::254")


def open_source(url: SourceUrl, config: IngestConfig, playback: Playback) -> Source:
    """The opened source. Raises SourceInvalid or SourceUnreachable; blocks for at most about open_timeout_s."""
    if isinstance(url, SimUrl):
        return SimSource(url, config, playback)
    if isinstance(url, FileUrl):
        _check_file(url.path)
    else:
        _check_host(url)
    return MediaSource(MediaStream(url, config), url, config, playback)


def _check_file(path: Path) -> None:
    try:
        about = path.stat()
    except OSError as error:
        raise SourceInvalid(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(about.st_mode):
        raise SourceInvalid(f"{path}: it is a directory or device, not a video file")
    if about.st_size == 0:
        raise SourceInvalid(f"{path}: the file is empty")


def _check_host(url: NetworkUrl) -> None:
    """Refuses addresses of the machine's own network segment: clouds keep credentials there."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(url.host, None)}
    except OSError as error:
        raise SourceUnreachable(f"{redacted(url.url)}: host {url.host!r} has no address: {error.strerror}") from None
    for address in map(ipaddress.ip_address, found):
        real = getattr(address, "ipv4_mapped", None) or address
        if real.is_link_local or real == _METADATA_SERVICE:
            raise SourceInvalid(f"{redacted(url.url)}: {address} is a link-local address")
