"""Servers that act as network cameras: real ones on loopback, each on a free port of its own."""

from __future__ import annotations

import functools
import http.server
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
RTSP_SERVER = Path(__file__).parent / "rtsp_server.py"
CHUNK_NBYTES = 1880
TEST_PICTURE = (
    "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=30/1 "
    "! vp8enc deadline=1 keyframe-max-dist=10 ! rtpvp8pay name=pay0 )"
)


def h264_file(path: Path) -> str:
    """The launch line that serves an MP4 of H.264 as a live camera."""
    return f'( filesrc location="{path}" ! qtdemux ! h264parse ! rtph264pay name=pay0 )'


def hevc_file(path: Path) -> str:
    """The launch line that serves an MP4 of HEVC as a live camera."""
    return f'( filesrc location="{path}" ! qtdemux ! h265parse ! rtph265pay name=pay0 )'


def why_no_rtsp() -> str:
    """Why no RTSP server can be started here, empty if one can."""
    code = "import gi; gi.require_version('GstRtspServer', '1.0')"
    try:
        result = subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, timeout=30, check=False)
    except OSError as error:
        return f"{SYSTEM_PYTHON}: {error.strerror}"
    return "" if result.returncode == 0 else "GStreamer's RTSP server for the system's Python is not installed"


NO_RTSP = why_no_rtsp()
needs_rtsp = pytest.mark.skipif(bool(NO_RTSP), reason=NO_RTSP)


@contextmanager
def rtsp_server(
    launch: str, *credentials: str, port: int = 0, transport: str = "any"
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running RTSP server: its port and its process. `transport`: any, or the only one that it offers."""
    command = [SYSTEM_PYTHON, str(RTSP_SERVER), str(port), launch, transport, *credentials]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait(10)


class _FileHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Logs nothing."""


class _RangeHandler(_FileHandler):
    def do_GET(self) -> None:
        """Sends the whole file or the requested byte range."""
        data = Path(self.translate_path(self.path)).read_bytes()
        requested = self.headers.get("Range")
        first, _, last = (requested or "bytes=0-").removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else len(data)
        part = data[int(first) : end]
        self.send_response(206 if requested else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(part)


@contextmanager
def file_server(folder: Path, *, has_ranges: bool = False) -> Iterator[str]:
    """A web server for a folder, with byte ranges if `has_ranges`; yields its URL."""
    handler = functools.partial(_RangeHandler if has_ranges else _FileHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def multipart_jpeg(image: bytes) -> bytes:
    """A JPEG as one part of an MJPEG stream (multipart/x-mixed-replace)."""
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
    return head.encode() + image + b"\r\n"


class _MjpegHandler(http.server.BaseHTTPRequestHandler):
    images: Sequence[bytes] = ()
    pause_s = 0.0
    max_images = 1 << 30
    stopped = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        sent = 0
        while sent < self.max_images and not self.stopped.wait(self.pause_s):
            image = self.images[sent % len(self.images)]
            try:
                self.wfile.write(multipart_jpeg(image))
            except OSError:
                return
            sent += 1

    def log_message(self, *args: object) -> None:
        """Logs nothing."""


@contextmanager
def mjpeg_server(images: Sequence[bytes], pause_s: float, *, port: int = 0, max_images: int = 1 << 30) -> Iterator[str]:
    """A camera that pushes JPEGs over HTTP, without times; it hangs up after `max_images`."""
    stopped = threading.Event()
    values = {"images": images, "pause_s": pause_s, "max_images": max_images, "stopped": stopped}
    handler = type("MjpegHandler", (_MjpegHandler,), values)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video.mjpg"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Reply:
    """A response of a scripted server.

    pieces: the body; iterated anew for each request.
    pause_s: before each piece.
    challenge: for requests whose Authorization header fails `is_authorized`.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Iterable[bytes] = ()
    pause_s: float = 0.0
    challenge: str = ""
    is_authorized: Callable[[str], bool] = bool


@dataclass
class ScriptedServer:
    """A running scripted server and the requests that it received: paths with headers, and monotonic times."""

    url: str
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)


@contextmanager
def scripted_server(
    replies: Mapping[str, Reply | Callable[[dict[str, str]], Reply]],
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Iterator[ScriptedServer]:
    """A web server with a reply for each path, or what makes one of a request's headers.

    Bodies end where the connection ends.
    """
    scripted = ScriptedServer("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scripted.requests.append((self.path, dict(self.headers)))
            scripted.times_s.append(time.monotonic())
            found = replies.get(self.path.partition("?")[0], Reply(404))
            reply = found if isinstance(found, Reply) else found(dict(self.headers))
            if reply.challenge and not reply.is_authorized(self.headers.get("Authorization", "")):
                reply = Reply(401, (("WWW-Authenticate", reply.challenge),))
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in reply.pieces:
                    time.sleep(reply.pause_s)
                    self.wfile.write(piece)
            except OSError:
                return

        def log_message(self, *args: object) -> None:
            """Logs nothing."""

    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        scripted.url = f"http{'s' if tls else ''}://{host}:{server.server_port}"
        yield scripted
    finally:
        server.shutdown()
        server.server_close()


class _StreamHandler(http.server.BaseHTTPRequestHandler):
    parts: tuple[tuple[bytes, float], ...] = ()
    connections: ClassVar[list[float]] = []  # when each began
    stopped = threading.Event()

    def do_GET(self) -> None:
        self.connections.append(time.monotonic())
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        current = 0
        for index in range(len(self.parts)):
            if time.monotonic() - self.connections[0] >= sum(seconds for _, seconds in self.parts[:index]):
                current = index
        for data, duration_s in self.parts[current:]:
            chunks = [data[at : at + CHUNK_NBYTES] for at in range(0, len(data), CHUNK_NBYTES)]
            for chunk in chunks:
                try:
                    self.wfile.write(chunk)
                except OSError:
                    return
                if self.stopped.wait(duration_s / len(chunks)):
                    return

    def log_message(self, *args: object) -> None:
        """Logs nothing."""


@contextmanager
def stream_server(*parts: tuple[bytes, float]) -> Iterator[str]:
    """A camera that pushes a transport stream over HTTP. Each part is its data and the seconds it takes to send.

    The first part begins with the first connection. A client that connects later gets the current part from its
    beginning.
    """
    stopped = threading.Event()
    handler = type("StreamHandler", (_StreamHandler,), {"parts": parts, "connections": [], "stopped": stopped})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live.ts"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()


@contextmanager
def tls_proxy(port: int, tls: ssl.SSLContext) -> Iterator[int]:
    """A TLS server in front of the server at `port`; yields its port."""

    def forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with suppress(OSError):
                    outside = tls.wrap_socket(plain, server_side=True)
                    inside = socket.create_connection(("127.0.0.1", port))
                    for pair in ((outside, inside), (inside, outside)):
                        threading.Thread(target=forward, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def make_certificate(folder: Path, names: str) -> tuple[ssl.SSLContext, Path]:
    """A self-signed certificate for `names`: the server's context, and the file that a client must trust."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=camera"
    subprocess.run(
        [*command.split(), "-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts connections and sends nothing; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
