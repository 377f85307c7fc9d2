"""Carries one RTSP connection between libav and a camera.

By itself libav goes wherever a camera sends it and believes every certificate. Here the way to the camera is ours.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLSocket

from pipeline.cameras import Reason, SourceUnreachable
from pipeline.urls import redacted

_LOOK_EVERY_S = 0.2  # whether to stop
_GATHER_S = 0.005  # a camera's small packets are carried a few at a time
_CHUNK_NBYTES = 1 << 16
_REDIRECT = re.compile(rb"RTSP/[^\s]*\s+\+?0*3\d\d")  # whatever libav takes for one
_LOCATION = re.compile(rb"(?i)\nLocation: *([^\r\n]*)")
_TAIL_NBYTES = 8192  # of what was carried, in case a reply comes in two pieces


class RtspRelay:
    """Owns the connection to the camera. One thread carries until either end closes it or it is told to stop."""

    def __init__(self, camera: socket.socket, named: str, is_stopped: Callable[[], bool]) -> None:
        self.failure: SourceUnreachable | None = None
        self._camera, self._named, self._is_stopped = camera, named, is_stopped
        self._closed = threading.Event()
        self._is_playing = False
        self._said = b""
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._run, name="rtsp-relay", daemon=True).start()

    def close(self) -> None:
        """Ends both connections within a moment."""
        self._closed.set()

    @property
    def _is_over(self) -> bool:
        return self._closed.is_set() or self._is_stopped()

    def _run(self) -> None:
        with self._camera, self._door, suppress(OSError):
            self._door.settimeout(_LOOK_EVERY_S)
            while not self._is_over:
                with suppress(TimeoutError):
                    libav, _ = self._door.accept()
                    break
            else:
                return
            self._door.close()
            with libav:
                self._carry(libav)

    def _carry(self, libav: socket.socket) -> None:
        self._camera.settimeout(_LOOK_EVERY_S)
        libav.settimeout(_LOOK_EVERY_S)
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._camera, selectors.EVENT_READ)
            waiting.register(libav, selectors.EVENT_READ)
            while not self._is_over:
                for key, _ in waiting.select(_LOOK_EVERY_S):
                    is_carried = self._from_libav(libav) if key.fileobj is libav else self._from_camera(libav)
                    if not is_carried:
                        return
                    time.sleep(_GATHER_S)

    def _from_libav(self, libav: socket.socket) -> bool:
        asked = libav.recv(_CHUNK_NBYTES)
        self._is_playing = self._is_playing or asked.startswith(b"PLAY ")
        self._send(self._camera, asked)
        return bool(asked)

    def _from_camera(self, libav: socket.socket) -> bool:
        is_more = True
        while is_more:
            try:
                data = self._camera.recv(_CHUNK_NBYTES)
            except TimeoutError:  # TLS: not yet a whole record
                return True
            if not data or not self._is_harmless(data):
                return False
            self._send(libav, data)
            is_more = isinstance(self._camera, SSLSocket) and self._camera.pending() > 0
        return True

    def _is_harmless(self, data: bytes) -> bool:
        """Whether libav may hear it: before it plays, it follows whoever sends it elsewhere."""
        if self._is_playing:
            return True
        self._said = self._said[-_TAIL_NBYTES:] + data
        if _REDIRECT.search(self._said) is None:
            return True
        there = _LOCATION.search(self._said)
        shown = redacted(there[1].decode(errors="replace")) if there else "elsewhere"
        text = f"{self._named}: it redirects to {shown}; no redirect is followed, name the camera's own URL"
        self.failure = SourceUnreachable(text, Reason.REDIRECTED)
        return False

    def _send(self, to: socket.socket, data: bytes) -> None:
        left = memoryview(data)
        while left and not self._is_over:
            with suppress(TimeoutError):
                left = left[to.send(left) :]
