"""What stands between libav and an RTSP camera: TLS is checked, no redirect is followed, and an end is an end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import SourceError, SourceReason
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK, play, running_feed
from tests.pipeline.servers import needs_rtsp


@contextmanager
def saying(*replies: str) -> Iterator[tuple[int, list[bytes]]]:
    """An RTSP server that answers with these in turn; its port, and what it was asked, b"" when the other end left."""
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            for reply in (*replies, ""):
                asked.append(connection.recv(1 << 16))
                connection.sendall(reply.encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("before", [(), ("RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n",)])
@pytest.mark.parametrize("status", ["RTSP/1.0 302 Moved", "RTSP/7 \t +0301"])
def test_a_redirect_is_named_and_not_followed(before: tuple[str, ...], status: str) -> None:
    with saying() as (there, never_asked):
        moved = f"{status}\r\nCSeq: {len(before) + 1}\r\nLocation: rtsp://127.0.0.1:{there}/live\r\n\r\n"
        with saying(*before, moved) as (port, _), pytest.raises(SourceError) as caught:
            play(f"rtsp://127.0.0.1:{port}/live")

    assert caught.value.reason is SourceReason.REDIRECTED
    assert f"rtsp://127.0.0.1:{port}/live: it redirects to rtsp://127.0.0.1:{there}/live" in str(caught.value)
    assert never_asked == []


@pytest.mark.rtsp
@needs_rtsp
def test_tls_is_checked_by_the_hosts_name(tmp_path: Path) -> None:
    tls, made = servers.make_certificate(tmp_path, "DNS:localhost")
    believing = replace(QUICK, ca_file=made, open_timeout_s=10.0, allowed_networks=("127.0.0.0/8", "::1/128"))
    video = footage.write(tmp_path / "video.mp4", H264)
    with servers.rtsp_server(servers.h264_file(video)) as (plain, _), servers.tls_proxy(plain, tls) as port:
        played = play(f"rtsps://localhost:{port}/live", config=believing, max_samples=2)
        with pytest.raises(SourceError) as wrong_name:
            play(f"rtsps://127.0.0.1:{port}/live", config=believing)
        with pytest.raises(SourceError) as unknown:
            play(f"rtsps://localhost:{port}/live", config=replace(believing, ca_file=None))

    assert len(played.samples) == 2
    assert wrong_name.value.reason is unknown.value.reason is SourceReason.TLS


def test_the_connection_ends_when_the_camera_is_removed() -> None:
    """Although its server is silent, and libav waits for it."""
    with saying("") as (port, asked):
        with running_feed(f"rtsp://127.0.0.1:{port}/live", config=replace(QUICK, open_timeout_s=30.0)):
            deadline_s = time.monotonic() + 5
            while not asked and time.monotonic() < deadline_s:
                time.sleep(0.01)
            began_s = time.monotonic()
        while len(asked) < 2 and time.monotonic() < began_s + 5:
            time.sleep(0.01)
        ended_after_s = time.monotonic() - began_s

    assert asked[0].startswith(b"OPTIONS rtsp://")
    assert asked[1] == b""
    assert ended_after_s < 1
