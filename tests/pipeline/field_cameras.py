"""Cameras of every network kind at once, that never end: RTSP, MJPEG, a live HLS playlist, and single pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.pipeline import footage, rtsp_camera, servers
from tests.pipeline.footage import H264
from tests.pipeline.rtsp_camera import RtspCamera
from tests.pipeline.servers import Reply

_SEGMENT = replace(H264, container="mpegts", frames=10, gop=5)  # of one second
_NUM_PICTURES = 12


def _playlist(_: dict[str, str]) -> Reply:
    """The last three of endless segments; each is the same second, so each begins anew."""
    newest = int(time.monotonic())
    segments = "".join(f"#EXT-X-DISCONTINUITY\n#EXTINF:1.0,\n/a.ts?n={newest + number}\n" for number in range(3))
    text = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{newest}\n{segments}"
    return Reply(headers=(("Content-Type", "application/vnd.apple.mpegurl"),), pieces=(text.encode(),))


def _picture(_: dict[str, str]) -> Reply:
    image = footage.jpeg(int(time.monotonic() * 2) % _NUM_PICTURES)
    return Reply(headers=(("Content-Type", "image/jpeg"), ("Content-Length", str(len(image)))), pieces=(image,))


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The cameras, serving on free ports; yields the URL of each kind."""
    segment = footage.write(folder / "a.ts", _SEGMENT).read_bytes()
    replies = {"/live.m3u8": _playlist, "/a.ts": Reply(pieces=(segment,)), "/picture.jpg": _picture}
    with ExitStack() as stack:
        web = stack.enter_context(servers.scripted_server(replies))
        images = [footage.jpeg(number) for number in range(_NUM_PICTURES)]
        yield {
            "rtsp": stack.enter_context(rtsp_camera.running(RtspCamera(fps=10))),
            "mjpeg": stack.enter_context(servers.mjpeg_server(images, 0.1)),
            "hls": f"{web.url}/live.m3u8",
            "picture": f"{web.url}/picture.jpg",
        }
