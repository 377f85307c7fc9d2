"""Cameras on the network for tests: real servers on loopback."""

from __future__ import annotations

import functools
import http.server
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
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
def rtsp_camera(
    launch: str, *credentials: str, port: int = 0, transport: str = "any"
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running RTSP server, of one transport alone if that is named: its port and its process."""
    command = [SYSTEM_PYTHON, str(RTSP_SERVER), str(port), launch, transport, *credentials]
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


class _Parts(_Files):
    def do_GET(self) -> None:
        """The whole file or the part that is asked for."""
        data = Path(self.translate_path(self.path)).read_bytes()
        asked = self.headers.get("Range")
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else len(data)
        part = data[int(first) : end]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(part)


@contextmanager
def http_files(folder: Path, *, has_ranges: bool = False) -> Iterator[str]:
    """Serves a folder, parts of files too if it has ranges; yields its URL."""
    handler = functools.partial(_Parts if has_ranges else _Files, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def pushed(picture: bytes) -> bytes:
    """A JPEG as one part of what a camera pushes."""
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture + b"\r\n"


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
            try:
                self.wfile.write(pushed(picture))
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


@dataclass(frozen=True)
class Reply:
    """What a scripted server says. `pause_s`: before each of its pieces; `challenge`: to those who show no `proof`."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Iterable[bytes] = ()
    pause_s: float = 0.0
    challenge: str = ""
    proof: Callable[[str], bool] = bool


@dataclass
class Scripted:
    """A running scripted server and what it was asked: paths and headers."""

    url: str
    asked: list[tuple[str, dict[str, str]]]


@contextmanager
def scripted(
    replies: dict[str, Reply], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Scripted]:
    """A web server with a reply for each path; bodies end where the connection does."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            reply = replies.get(self.path.partition("?")[0], Reply(404))
            if reply.challenge and not reply.proof(self.headers.get("Authorization", "")):
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
            """Says nothing."""

    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Scripted(f"http{'s' if tls else ''}://{host}:{server.server_port}", asked)
    finally:
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
def behind_tls(port: int, tls: ssl.SSLContext) -> Iterator[int]:
    """A server on loopback as it is reached through TLS; yields the port."""

    def carry(source: socket.socket, target: socket.socket) -> None:
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
                        threading.Thread(target=carry, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def certificate(folder: Path, names: str) -> tuple[ssl.SSLContext, Path]:
    """A server's own certificate for these names, and the file that a client must believe."""
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=camera"
    subprocess.run(
        [*command.split(), "-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(made)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context, made


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts connections and never says a word; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
