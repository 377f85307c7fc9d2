"""Proxies one RTSP connection between libav and a camera.

libav alone follows every redirect and accepts every certificate, so the proxy makes the connection to the camera. RTP
that a camera sends over UDP only is forwarded to libav over the connection.
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

from pipeline.cameras import SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import rtsp_messages
from pipeline.network.rtsp_messages import UNSUPPORTED_TRANSPORT, MessageSplitter
from pipeline.network.rtsp_udp import UdpSession
from pipeline.network.urls import redact

_POLL_S = 0.2  # how often a wait checks for a stop request
_GATHER_S = 0.005  # small packets are forwarded in groups
_GATHER_UDP_S = 0.001  # the system's UDP buffer is small, and packets beyond it are lost
_TEARDOWN_S = 1.0
_CHUNK_NBYTES = 1 << 16
_REDIRECT = re.compile(rb"RTSP/[^\s]*\s+\+?0*3\d\d")  # everything that libav accepts as a redirect
_LOCATION = re.compile(rb"(?i)\nLocation: *([^\r\n]*)")
_WEB = re.compile(rb"(?i)\s*(HTTP/|<!DOCTYPE|<html)")
_TAIL_NBYTES = 8192  # of received data, because a response may arrive in two pieces


class RtspProxy:
    """Owns the connection to the camera. Its thread forwards until either end closes or a stop is requested."""

    def __init__(self, camera: socket.socket, label: str, is_stopped: Callable[[], bool]) -> None:
        self._camera, self._label, self._is_stopped = camera, label, is_stopped
        self._failure: SourceError | None = None
        self._closed = threading.Event()
        self._is_playing = self._has_response = False
        self._received_tail = b""
        self._requests, self._responses = MessageSplitter(), MessageSplitter()
        self._last_request = b""
        self._udp: UdpSession | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, name="rtsp-proxy", daemon=True).start()

    @property
    def failure(self) -> SourceError | None:
        """Why the proxy ended the connection, or why no packet arrived; None if the proxy knows no reason."""
        if self._failure is None and self._udp is not None and self._udp.is_playing and not self._udp.has_received:
            text = f"{self._label}: it sends over UDP, and no packet arrives (is there a firewall on the way?)"
            return SourceUnreachable(text, SourceReason.NO_ANSWER)
        return self._failure

    @property
    def is_over_udp(self) -> bool:
        """Whether the camera sends over UDP only."""
        return self._udp is not None

    def close(self) -> None:
        """Requests the end of both connections; does not block."""
        self._closed.set()

    @property
    def _is_ended(self) -> bool:
        return self._closed.is_set() or self._is_stopped()

    def _run(self) -> None:
        with self._camera, self._listener, suppress(OSError):
            self._listener.settimeout(_POLL_S)
            while not self._is_ended:
                with suppress(TimeoutError):
                    libav, _ = self._listener.accept()
                    break
            else:
                return
            self._listener.close()
            with libav:
                self._serve(libav)

    def _serve(self, libav: socket.socket) -> None:
        try:
            with suppress(OSError):
                self._forward(libav)
        except SourceError as error:
            self._failure = error
        if self._udp is not None:
            with closing(self._udp):
                self._tear_down(libav, self._udp)

    def _forward(self, libav: socket.socket) -> None:
        self._camera.settimeout(_POLL_S)
        libav.settimeout(_POLL_S)
        with selectors.DefaultSelector() as selector:
            selector.register(self._camera, selectors.EVENT_READ)
            selector.register(libav, selectors.EVENT_READ)
            while not self._is_ended:
                ready = {key.fileobj for key, _ in selector.select(_POLL_S)}
                if libav in ready and not self._forward_requests(libav):
                    return
                if self._camera in ready and not self._forward_responses(libav):
                    return
                if self._udp is not None and self._udp.is_playing:
                    self._forward_udp(self._udp, libav, selector)
                else:
                    time.sleep(_GATHER_S)

    def _forward_udp(self, udp: UdpSession, libav: socket.socket, selector: selectors.BaseSelector) -> None:
        for end in udp.sockets:
            if end not in selector.get_map():
                selector.register(end, selectors.EVENT_READ)
        data = udp.receive(time.monotonic())
        self._send(libav, data)
        if len(data) < _CHUNK_NBYTES:  # otherwise more packets of a key frame are waiting
            time.sleep(_GATHER_UDP_S)

    @property
    def _is_passthrough(self) -> bool:
        """Whether bytes are forwarded unparsed, because RTP arrives on the connection itself."""
        return self._is_playing and self._udp is None

    def _forward_requests(self, libav: socket.socket) -> bool:
        data = libav.recv(_CHUNK_NBYTES)
        if self._is_passthrough:
            self._send(self._camera, data)
            return bool(data)
        for request in self._split(self._requests, data):
            self._send_request(request)
        if self._is_passthrough:
            self._send(self._camera, self._requests.take_rest())
            self._send(libav, self._responses.take_rest())
        return bool(data)

    def _send_request(self, request: bytes) -> None:
        self._last_request = request
        self._is_playing = self._is_playing or request.startswith(b"PLAY ")
        self._send(self._camera, request if self._udp is None else self._udp.to_camera(request))

    def _forward_responses(self, libav: socket.socket) -> bool:
        has_more = True
        while has_more:
            try:
                data = self._camera.recv(_CHUNK_NBYTES)
            except TimeoutError:  # TLS: the record is incomplete
                return True
            if self._is_redirect(data) or self._is_of_web_server(data):
                return False
            if not data:
                self._send(libav, self._responses.take_rest())
                return False
            if self._is_passthrough:
                self._send(libav, data)
            else:
                for response in self._split(self._responses, data):
                    self._handle_response(response, libav)
            has_more = isinstance(self._camera, SSLSocket) and self._camera.pending() > 0
        return True

    def _handle_response(self, response: bytes, libav: socket.socket) -> None:
        if self._udp is None and self._is_refusal(response):
            if isinstance(self._camera, SSLSocket):
                text = f"{self._label}: it refuses RTP over its TLS connection, and RTP over UDP would not be encrypted"
                raise SourceUnreachable(text, SourceReason.SERVER_ERROR)
            self._udp = UdpSession(self._camera, self._label)
            self._send_request(self._last_request)
        else:
            self._send(libav, response if self._udp is None else self._udp.to_client(response))

    def _is_refusal(self, response: bytes) -> bool:
        """Whether the camera refuses to send RTP over the connection."""
        is_setup = rtsp_messages.requested_channels(self._last_request) is not None
        return is_setup and rtsp_messages.status(response) == UNSUPPORTED_TRANSPORT

    def _split(self, messages: MessageSplitter, data: bytes) -> list[bytes]:
        try:
            return messages.add(data)
        except ValueError as error:
            raise SourceUnreachable(f"{self._label}: {error}", SourceReason.NOT_VIDEO) from error

    def _tear_down(self, libav: socket.socket, udp: UdpSession) -> None:
        """Ends libav's connection and forwards its TEARDOWN; without one the camera would go on sending over UDP."""
        deadline_s = time.monotonic() + _TEARDOWN_S
        with suppress(OSError):
            libav.shutdown(socket.SHUT_WR)
        with suppress(OSError, SourceError):
            while time.monotonic() < deadline_s:
                with suppress(TimeoutError):
                    data = libav.recv(_CHUNK_NBYTES)
                    for request in self._split(self._requests, data):
                        self._camera.sendall(udp.to_camera(request))
                    if not data:
                        break
            # Closing with unread data resets the connection, and the TEARDOWN could be lost.
            self._camera.recv(_CHUNK_NBYTES)

    def _is_redirect(self, data: bytes) -> bool:
        """Whether the camera redirects, which is recorded as the failure. Before it plays, libav would follow."""
        if self._is_playing:
            return False
        self._received_tail = self._received_tail[-_TAIL_NBYTES:] + data
        if _REDIRECT.search(self._received_tail) is None:
            return False
        location = _LOCATION.search(self._received_tail)
        target = redact(location[1].decode(errors="replace")) if location else "an unnamed URL"
        text = f"{self._label}: it redirects to {target}; redirects are not followed: use the camera's own URL"
        self._failure = SourceUnreachable(text, SourceReason.REDIRECTED)
        return True

    def _is_of_web_server(self, data: bytes) -> bool:
        """Whether the first bytes received are HTTP or HTML, which is recorded as the failure."""
        has_begun, self._has_response = self._has_response, True
        if has_begun or _WEB.match(data) is None:
            return False
        text = f"{self._label}: a web server answers there, not RTSP: use http://, or the RTSP port (mostly 554)"
        self._failure = SourceInvalid(text, SourceReason.NOT_VIDEO)
        return True

    def _send(self, to: socket.socket, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._is_ended:
            with suppress(TimeoutError):
                rest = rest[to.send(rest) :]
