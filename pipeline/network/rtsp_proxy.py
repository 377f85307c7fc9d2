"""Carries one RTSP connection between libav and a camera.

By itself libav goes wherever a camera sends it and believes every certificate. Here the way to the camera is ours. What
a camera sends over UDP alone is carried as if it came on the connection.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from ssl import SSLSocket

from pipeline.cameras import SourceError, SourceReason, SourceUnreachable
from pipeline.network import rtsp_messages
from pipeline.network.rtsp_messages import UNSUPPORTED_TRANSPORT, MessageSplitter
from pipeline.network.rtsp_udp import UdpSession
from pipeline.network.urls import redact

_LOOK_EVERY_S = 0.2  # whether to stop
_GATHER_S = 0.005  # a camera's small packets are carried a few at a time
_GATHER_UDP_S = 0.001  # what the system holds of them is little, and the rest is lost
_LEAVE_S = 1.0
_CHUNK_NBYTES = 1 << 16
_REDIRECT = re.compile(rb"RTSP/[^\s]*\s+\+?0*3\d\d")  # whatever libav takes for one
_LOCATION = re.compile(rb"(?i)\nLocation: *([^\r\n]*)")
_TAIL_NBYTES = 8192  # of what was carried, in case a reply comes in two pieces


class RtspProxy:
    """Owns the connection to the camera. One thread carries until either end closes it or it is told to stop."""

    def __init__(self, camera: socket.socket, label: str, is_stopped: Callable[[], bool]) -> None:
        self._camera, self._label, self._is_stopped = camera, label, is_stopped
        self._failure: SourceError | None = None
        self._closed = threading.Event()
        self._is_playing = False
        self._said = b""
        self._requests, self._answers = MessageSplitter(), MessageSplitter()
        self._asked = b""
        self._udp: UdpSession | None = None
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._run, name="rtsp-relay", daemon=True).start()

    @property
    def failure(self) -> SourceError | None:
        """Why the connection was ended, or gave nothing; None where that is not known here."""
        if self._failure is None and self._udp is not None and self._udp.is_playing and not self._udp.has_received:
            text = f"{self._label}: it sends over UDP, and none of that arrives here (is a firewall between?)"
            return SourceUnreachable(text, SourceReason.NO_ANSWER)
        return self._failure

    @property
    def is_over_udp(self) -> bool:
        """Whether the camera was found to send over UDP alone."""
        return self._udp is not None

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
                self._serve(libav)

    def _serve(self, libav: socket.socket) -> None:
        try:
            with suppress(OSError):
                self._carry(libav)
        except SourceError as error:
            self._failure = error
        if self._udp is not None:
            with closing(self._udp):
                self._take_leave(libav, self._udp)

    def _carry(self, libav: socket.socket) -> None:
        self._camera.settimeout(_LOOK_EVERY_S)
        libav.settimeout(_LOOK_EVERY_S)
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._camera, selectors.EVENT_READ)
            waiting.register(libav, selectors.EVENT_READ)
            while not self._is_over:
                ready = {key.fileobj for key, _ in waiting.select(_LOOK_EVERY_S)}
                if libav in ready and not self._from_libav(libav):
                    return
                if self._camera in ready and not self._from_camera(libav):
                    return
                if self._udp is not None and self._udp.is_playing:
                    self._from_udp(self._udp, libav, waiting)
                else:
                    time.sleep(_GATHER_S)

    def _from_udp(self, udp: UdpSession, libav: socket.socket, waiting: selectors.BaseSelector) -> None:
        for end in udp.sockets:
            if end not in waiting.get_map():
                waiting.register(end, selectors.EVENT_READ)
        data = udp.received(time.monotonic())
        self._send(libav, data)
        if len(data) < _CHUNK_NBYTES:  # else it is in the midst of a key frame
            time.sleep(_GATHER_UDP_S)

    @property
    def _is_past_talking(self) -> bool:
        """Whether nothing needs to be understood any more: pictures come on the connection."""
        return self._is_playing and self._udp is None

    def _from_libav(self, libav: socket.socket) -> bool:
        data = libav.recv(_CHUNK_NBYTES)
        if self._is_past_talking:
            self._send(self._camera, data)
            return bool(data)
        for request in self._cut(self._requests, data):
            self._ask(request)
        if self._is_past_talking:
            self._send(self._camera, self._requests.take_rest())
            self._send(libav, self._answers.take_rest())
        return bool(data)

    def _ask(self, request: bytes) -> None:
        self._asked = request
        self._is_playing = self._is_playing or request.startswith(b"PLAY ")
        self._send(self._camera, request if self._udp is None else self._udp.asked(request))

    def _from_camera(self, libav: socket.socket) -> bool:
        is_more = True
        while is_more:
            try:
                data = self._camera.recv(_CHUNK_NBYTES)
            except TimeoutError:  # TLS: not yet a whole record
                return True
            if not self._is_harmless(data):
                return False
            if not data:
                self._send(libav, self._answers.take_rest())
                return False
            if self._is_past_talking:
                self._send(libav, data)
            else:
                for answer in self._cut(self._answers, data):
                    self._hear(answer, libav)
            is_more = isinstance(self._camera, SSLSocket) and self._camera.pending() > 0
        return True

    def _hear(self, answer: bytes, libav: socket.socket) -> None:
        if self._udp is None and self._is_refusal(answer):
            if isinstance(self._camera, SSLSocket):
                text = f"{self._label}: it does not send over its connection, and nothing else is encrypted"
                raise SourceUnreachable(text, SourceReason.SERVER_ERROR)
            self._udp = UdpSession(self._camera, self._label)
            self._ask(self._asked)
        else:
            self._send(libav, answer if self._udp is None else self._udp.answered(answer))

    def _is_refusal(self, answer: bytes) -> bool:
        """Whether the camera does not send over the connection."""
        is_setup = rtsp_messages.channels_asked(self._asked) is not None
        return is_setup and rtsp_messages.status(answer) == UNSUPPORTED_TRANSPORT

    def _cut(self, messages: MessageSplitter, data: bytes) -> list[bytes]:
        try:
            return messages.add(data)
        except ValueError as error:
            raise SourceUnreachable(f"{self._label}: {error}", SourceReason.NOT_VIDEO) from error

    def _take_leave(self, libav: socket.socket, udp: UdpSession) -> None:
        """A camera goes on sending over UDP until it is told to stop: libav hears of the end and tells it."""
        deadline_s = time.monotonic() + _LEAVE_S
        with suppress(OSError):
            libav.shutdown(socket.SHUT_WR)
        with suppress(OSError, SourceError):
            while time.monotonic() < deadline_s:
                with suppress(TimeoutError):
                    data = libav.recv(_CHUNK_NBYTES)
                    for request in self._cut(self._requests, data):
                        self._camera.sendall(udp.asked(request))
                    if not data:
                        break
            # With its answer unread the connection would break off, and what was just said with it.
            self._camera.recv(_CHUNK_NBYTES)

    def _is_harmless(self, data: bytes) -> bool:
        """Whether libav may hear it: before it plays, it follows whoever sends it elsewhere."""
        if self._is_playing:
            return True
        self._said = self._said[-_TAIL_NBYTES:] + data
        if _REDIRECT.search(self._said) is None:
            return True
        there = _LOCATION.search(self._said)
        shown = redact(there[1].decode(errors="replace")) if there else "elsewhere"
        text = f"{self._label}: it redirects to {shown}; no redirect is followed, name the camera's own URL"
        self._failure = SourceUnreachable(text, SourceReason.REDIRECTED)
        return False

    def _send(self, to: socket.socket, data: bytes) -> None:
        left = memoryview(data)
        while left and not self._is_over:
            with suppress(TimeoutError):
                left = left[to.send(left) :]
