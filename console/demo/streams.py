"""Live streams of the demo's cameras over HTTP, from a process of their own, and a picture of what all cameras show.

Listens on loopback only. A scene is drawn while it is read, so a stream never ends.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from console.demo import contact_sheet
from console.demo.cameras import HEIGHT, WIDTH, DemoCamera
from models.tiny.scenes.scene import Scene
from pipeline.decoding import video_writer
from pipeline.decoding.video_writer import LIVE_CONTAINERS

HOST = "127.0.0.1"
FPS = 8.0
_MAX_READERS = 16
_WRITE_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 30.0
_SHEET_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Streams:
    """The running process. `sheet`: the picture of all cameras, a JPEG that is written again every two seconds."""

    address: str
    sheet: Path
    _started_s: Any

    @property
    def started_s(self) -> float:
        """The Unix time at which the cameras started, 0 before."""
        return float(self._started_s.value)

    def start_scenes(self, started_s: float) -> None:
        """Starts the cameras at this Unix time. Called once, before the streams are read."""
        self._started_s.value = started_s


@contextmanager
def running(cameras: Sequence[DemoCamera], sheet: Path) -> Iterator[Streams]:
    """Serves the streams for the time of the block."""
    spawning = multiprocessing.get_context("spawn")
    started_s = spawning.Value("d", 0.0)
    receiver, sender = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_serve, args=(cameras, sheet, started_s, sender, os.getpid()), daemon=True)
    process.start()
    try:
        yield Streams(f"http://{HOST}:{_port(receiver)}", sheet, started_s)
    finally:
        process.terminate()
        process.join()


def _port(receiver: Connection) -> int:
    if not receiver.poll(_START_TIMEOUT_S):
        raise TimeoutError(f"the demo's streams did not start within {_START_TIMEOUT_S:.0f} s")
    return int(receiver.recv())


def _serve(cameras: Sequence[DemoCamera], sheet: Path, started_s: Any, sender: Connection, parent: int) -> None:
    """What runs in the process, until the parent ends it or has ended itself."""
    # Ctrl-C reaches this process too, but the system needs its cameras until it has saved their memories.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = _StreamServer(cameras, started_s)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sender.send(server.server_port)
    scenes = {camera: camera.scene() for camera in cameras}
    while os.getppid() == parent:
        if started_s.value:
            _write_sheet(scenes, started_s.value, sheet)
        time.sleep(_SHEET_EVERY_S)


def _write_sheet(scenes: Mapping[DemoCamera, Scene], started_s: float, sheet: Path) -> None:
    now_s = time.time()
    images = {
        camera.name: scene.frame(camera.scene_s(now_s, started_s), WIDTH, HEIGHT) for camera, scene in scenes.items()
    }
    contact_sheet.write(images, now_s, sheet)


class _StreamServer(ThreadingHTTPServer):
    """Serves /NAME of each camera that has a codec."""

    daemon_threads = True

    def __init__(self, cameras: Sequence[DemoCamera], started_s: Any) -> None:
        super().__init__((HOST, 0), _Handler)
        self.cameras = {f"/{camera.name}": camera for camera in cameras if camera.codec is not None}
        self.started_s = started_s
        self.readers = threading.BoundedSemaphore(_MAX_READERS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that leaves early is normal."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _WRITE_TIMEOUT_S
    server: _StreamServer

    def do_GET(self) -> None:
        camera = self.server.cameras.get(self.path)
        if camera is None or camera.codec is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not self.server.readers.acquire(blocking=False):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            try:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", LIVE_CONTAINERS[camera.codec][1])
                self.end_headers()
                frames = _live_frames(camera, self.server.started_s.value)
                video_writer.write_stream(frames, self.wfile, fps=FPS, codec=camera.codec)
            finally:
                self.server.readers.release()

    def log_message(self, *_: Any) -> None:
        """The demo prints what matters."""


def _live_frames(camera: DemoCamera, started_s: float) -> Iterator[NDArray[np.uint8]]:
    """The scene from now on, each frame at its time."""
    scene, first_s = camera.scene(), time.time()
    for number in itertools.count():
        frame_s = first_s + number / FPS
        time.sleep(max(0.0, frame_s - time.time()))
        yield scene.frame(camera.scene_s(frame_s, started_s), WIDTH, HEIGHT)
