"""Cameras on the network for tests: real servers on loopback."""

from __future__ import annotations

import functools
import http.server
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
RTSP_SERVER = Path(__file__).parent / "rtsp_server.py"
PIECE_NBYTES = 1880
TEST_PICTURE = (
    "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=10/1 "
    "! vp8enc deadline=1 keyframe-max-dist=10 ! rtpvp8pay name=pay0 )"
)


def h264_file(path: Path) -> str:
    """The launch line that plays an MP4 as a camera would."""
    return f'( filesrc location="{path}" ! qtdemux ! h264parse ! rtph264pay name=pay0 )'


def hevc_file(path: Path) -> str:
    """The launch line that plays an MP4 of HEVC as a camera would."""
    return f'( filesrc location="{path}" ! qtdemux ! h265parse ! rtph265pay name=pay0 )'


def why_no_rtsp() -> str:
    """Why no RTSP server can be started here; empty if one can."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    try:
        found = subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, timeout=30, check=False)
    except OSError as error:
        return f"{SYSTEM_PYTHON}: {error.strerror}"
    return "" if found.returncode == 0 else "GStreamer's RTSP server for the system's Python is not installed"


@contextmanager
def rtsp_camera(launch: str, *credentials: str, port: int = 0) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running RTSP server: its port and its process."""
    command = [SYSTEM_PYTHON, str(RTSP_SERVER), str(port), launch, *credentials]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait(10)


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def http_files(folder: Path) -> Iterator[str]:
    """Serves a folder; yields its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Pushed(http.server.BaseHTTPRequestHandler):
    pictures: tuple[bytes, ...] = ()
    pause_s = 0.0
    most = 1 << 30
    stopped = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        place = 0
        while place < self.most and not self.stopped.wait(self.pause_s):
            picture = self.pictures[place % len(self.pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + picture + b"\r\n")
            except OSError:
                return
            place += 1

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def pushed_jpegs(pictures: tuple[bytes, ...], pause_s: float, *, port: int = 0, most: int = 1 << 30) -> Iterator[str]:
    """A camera that pushes JPEGs over HTTP, without times; after so many it hangs up."""
    stopped = threading.Event()
    handler = type("Pushed", (_Pushed,), {"pictures": pictures, "pause_s": pause_s, "most": most, "stopped": stopped})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video.mjpg"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()


class _Stream(http.server.BaseHTTPRequestHandler):
    parts: tuple[tuple[bytes, float], ...] = ()
    began_s = 0.0
    stopped = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        part = 0
        for place in range(len(self.parts)):
            if time.monotonic() - self.began_s >= sum(seconds for _, seconds in self.parts[:place]):
                part = place
        for data, over_s in self.parts[part:]:
            pieces = [data[at : at + PIECE_NBYTES] for at in range(0, len(data), PIECE_NBYTES)]
            for piece in pieces:
                try:
                    self.wfile.write(piece)
                except OSError:
                    return
                if self.stopped.wait(over_s / len(pieces)):
                    return

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def pushed_parts(*parts: tuple[bytes, float]) -> Iterator[str]:
    """A camera that pushes a transport stream over HTTP, its parts one after the other, each over so many seconds.

    Whoever comes later gets the part that is on by then, from its beginning.
    """
    stopped = threading.Event()
    handler = type("Stream", (_Stream,), {"parts": parts, "began_s": time.monotonic(), "stopped": stopped})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live.ts"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()


def pushed_bytes(data: bytes, over_s: float) -> AbstractContextManager[str]:
    """A camera that pushes one transport stream."""
    return pushed_parts((data, over_s))


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts connections and never says a word; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
