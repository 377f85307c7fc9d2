"""The proxy between libav and an RTSP camera checks TLS, follows no redirect and ends with either side."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import SourceError, SourceReason
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK, play, running_feed
from tests.pipeline.servers import needs_rtsp


@contextmanager
def rtsp_replies(*replies: str) -> Iterator[tuple[int, queue.SimpleQueue[bytes]]]:
    """An RTSP server that sends these replies in turn: its port and the requests, b"" for the client's end."""
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def serve(listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):  # the client may have left
            for reply in (*replies, ""):
                requests.put(connection.recv(1 << 16))
                connection.sendall(reply.encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], requests
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("before", [(), ("RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n",)])
@pytest.mark.parametrize("status", ["RTSP/1.0 302 Moved", "RTSP/7 \t +0301"])
def test_a_redirect_is_reported_and_not_followed(before: tuple[str, ...], status: str) -> None:
    with rtsp_replies() as (target, target_requests):
        moved = f"{status}\r\nCSeq: {len(before) + 1}\r\nLocation: rtsp://127.0.0.1:{target}/live\r\n\r\n"
        with rtsp_replies(*before, moved) as (port, _), pytest.raises(SourceError) as caught:
            play(f"rtsp://127.0.0.1:{port}/live")

    assert caught.value.reason is SourceReason.REDIRECTED
    assert f"rtsp://127.0.0.1:{port}/live: it redirects to rtsp://127.0.0.1:{target}/live" in str(caught.value)
    assert target_requests.empty()


@pytest.mark.parametrize("reply", ["HTTP/1.1 400 Bad Request\r\n\r\n", "<!DOCTYPE HTML>\n<html></html>\n"])
def test_the_port_of_a_web_server_is_said_to_be_one(reply: str) -> None:
    with rtsp_replies(reply) as (port, _), pytest.raises(SourceError, match="a web server answers there") as caught:
        play(f"rtsp://127.0.0.1:{port}/live")

    assert caught.value.reason is SourceReason.NOT_VIDEO


def test_a_refused_login_names_the_options_that_give_one() -> None:
    options = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n"
    refusal = 'RTSP/1.0 401 Unauthorized\r\nCSeq: {}\r\nWWW-Authenticate: Basic realm="c"\r\n\r\n'
    replies = (options, refusal.format(2), refusal.format(3))
    with rtsp_replies(*replies) as (port, _), pytest.raises(SourceError, match=r"--user and --password-file"):
        play(f"rtsp://127.0.0.1:{port}/live")


@pytest.mark.rtsp
@needs_rtsp
def test_the_certificate_must_be_trusted_and_name_the_host(tmp_path: Path) -> None:
    tls, certificate = servers.make_certificate(tmp_path, "DNS:localhost")
    trusting = replace(
        QUICK, sample_fps=8, ca_file=certificate, open_timeout_s=10.0, allowed_networks=("127.0.0.0/8", "::1/128")
    )
    video = footage.write(tmp_path / "video.mp4", replace(H264, fps=40, frames=100))
    with servers.rtsp_server(servers.h264_file(video)) as (plain, _), servers.tls_proxy(plain, tls) as port:
        played = play(f"rtsps://localhost:{port}/live", config=trusting, max_samples=2)
        with pytest.raises(SourceError) as wrong_name:
            play(f"rtsps://127.0.0.1:{port}/live", config=trusting)
        with pytest.raises(SourceError) as unknown:
            play(f"rtsps://localhost:{port}/live", config=replace(trusting, ca_file=None))

    assert len(played.samples) == 2
    assert wrong_name.value.reason is unknown.value.reason is SourceReason.TLS


def test_the_connection_ends_when_the_feed_stops() -> None:
    """Although the server is silent and libav waits for it."""
    with rtsp_replies("") as (port, requests):
        with running_feed(f"rtsp://127.0.0.1:{port}/live", config=replace(QUICK, open_timeout_s=30.0)):
            first = requests.get(timeout=10)
            began_s = time.monotonic()
        end = requests.get(timeout=10)
        ended_after_s = time.monotonic() - began_s

    assert first.startswith(b"OPTIONS rtsp://")
    assert end == b""
    assert ended_after_s < 5
