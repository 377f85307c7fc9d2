"""Proxies one RTSP connection between libav and a camera.

libav alone follows every redirect and accepts every certificate, so the proxy makes the connection to the camera. RTP
that a camera sends over UDP only is forwarded to libav over the connection.
"""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLSocket

from pipeline.cameras import SourceError, SourceReason, SourceUnreachable
from pipeline.network.http_auth import Login
from pipeline.network.rtsp_dialogue import RtspDialogue
from pipeline.network.rtsp_messages import MessageSplitter
from pipeline.network.rtsp_refusals import ResponseGuard
from pipeline.network.rtsp_udp import UdpSession

_POLL_S = 0.2  # how often a wait checks for a stop request
_GATHER_S = 0.005  # small packets are forwarded in groups
_GATHER_UDP_S = 0.001  # the system's UDP buffer is small, and packets beyond it are lost
_TEARDOWN_S = 1.0
_CHUNK_NBYTES = 1 << 16


class RtspProxy:
    """Owns the connection to the camera. Its thread forwards until either end closes or a stop is requested."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        label: str,
        is_stopped: Callable[[], bool],
        *,
        base_url: str,
        login: Login | None = None,
    ) -> None:
        """Connects. Raises SourceError, OSError.

        base_url: scheme, host and port of the camera as the operator wrote them.
        """
        self._connect, self._label, self._is_stopped = connect, label, is_stopped
        self._listener = socket.create_server(("127.0.0.1", 0))
        try:
            self._camera = connect()
        except SourceError:
            self._listener.close()
            raise
        self._failure: SourceError | None = None
        self._closed = threading.Event()
        self._deadline_s = math.inf
        self._has_begun_anew = False
        self._guard = ResponseGuard(label)
        self._requests, self._responses = MessageSplitter(), MessageSplitter()
        self.port: int = self._listener.getsockname()[1]
        self._dialogue = RtspDialogue(
            label,
            camera_base=base_url,
            client_base=f"rtsp://127.0.0.1:{self.port}",
            login=login,
            open_udp=self._open_udp,
        )
        self._thread = threading.Thread(target=self._run, name="rtsp-proxy", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> SourceError | None:
        """Why the proxy ended the connection, or why no packet arrived; None if the proxy knows no reason."""
        udp = self._dialogue.udp
        if self._failure is None and udp is not None and udp.is_playing and not udp.has_received:
            text = f"{self._label}: it sends over UDP, and no packet arrives (is there a firewall on the way?)"
            return SourceUnreachable(text, SourceReason.NO_ANSWER)
        return self._failure

    @property
    def note(self) -> str | None:
        """A fact about the camera's packets that the operator should know, None without one."""
        if self._dialogue.has_other_sources:
            return "two streams come on one channel: one of them is followed"
        return "it sends over UDP: lost packets leave gaps in its frames" if self._dialogue.udp is not None else None

    @property
    def has_packets(self) -> bool:
        """Whether RTP has arrived."""
        return self._dialogue.has_packets or (self._dialogue.udp is not None and self._dialogue.udp.has_received)

    def restart(self, limit_s: float) -> None:
        """Both connections end `limit_s` from now, unless the limit is set anew before."""
        self._deadline_s = time.monotonic() + limit_s

    def close(self) -> None:
        """Ends both connections, and the camera's session. Blocks for at most about two seconds."""
        self._closed.set()
        self._thread.join(_POLL_S + 2 * _TEARDOWN_S)

    @property
    def _is_ended(self) -> bool:
        return self._closed.is_set() or self._is_stopped() or time.monotonic() > self._deadline_s

    def _run(self) -> None:
        libav = self._accept()
        if libav is None:
            self._camera.close()
            return
        with libav:
            self._serve(libav)

    def _accept(self) -> socket.socket | None:
        """libav's connection; None if it is over before that comes."""
        with self._listener, suppress(OSError):
            self._listener.settimeout(_POLL_S)
            while not self._is_ended:
                with suppress(TimeoutError):
                    return self._listener.accept()[0]
        return None

    def _serve(self, libav: socket.socket) -> None:
        try:
            with suppress(OSError):
                self._forward(libav)
        except SourceError as error:
            self._failure = error
        with suppress(OSError):
            libav.shutdown(socket.SHUT_RDWR)
        with self._camera, suppress(OSError, ValueError, SourceError):
            self._tear_down()
        if self._dialogue.udp is not None:
            self._dialogue.udp.close()

    def _forward(self, libav: socket.socket) -> None:
        libav.settimeout(_POLL_S)
        with selectors.DefaultSelector() as selector:
            selector.register(libav, selectors.EVENT_READ)
            self._watch_camera(selector)
            while not self._is_ended:
                ready = {key.fileobj for key, _ in selector.select(_POLL_S)}
                if libav in ready and not self._forward_requests(libav):
                    return
                if self._camera in ready and not self._forward_responses(libav):
                    selector.unregister(self._camera)
                    if not self._begin_anew():
                        return
                    self._watch_camera(selector)
                udp = self._dialogue.udp
                if udp is not None and udp.is_playing:
                    self._forward_udp(udp, libav, selector)
                else:
                    time.sleep(_GATHER_S)

    def _watch_camera(self, selector: selectors.BaseSelector) -> None:
        self._camera.settimeout(_POLL_S)
        selector.register(self._camera, selectors.EVENT_READ)

    def _begin_anew(self) -> bool:
        """Connects again, once, where the camera hung up over a request, as some do after a challenge."""
        if self._has_begun_anew or not self._dialogue.can_begin_anew:
            return False
        self._has_begun_anew = True
        self._camera.close()
        self._camera = self._connect()
        self._responses.take_rest()
        self._send(self._camera, self._dialogue.repeat())
        return True

    def _forward_udp(self, udp: UdpSession, libav: socket.socket, selector: selectors.BaseSelector) -> None:
        for end in udp.sockets:
            if end not in selector.get_map():
                selector.register(end, selectors.EVENT_READ)
        data = udp.receive(time.monotonic())
        self._send(libav, data)
        if len(data) < _CHUNK_NBYTES:  # otherwise more packets of a key frame are waiting
            time.sleep(_GATHER_UDP_S)

    def _forward_requests(self, libav: socket.socket) -> bool:
        data = libav.recv(_CHUNK_NBYTES)
        for request in self._split(self._requests, data):
            with suppress(BrokenPipeError, ConnectionResetError):  # reading from the camera says so too
                self._send(self._camera, self._dialogue.request(request))
        return bool(data)

    def _forward_responses(self, libav: socket.socket) -> bool:
        has_more = True
        while has_more:
            try:
                data = self._camera.recv(_CHUNK_NBYTES)
            except TimeoutError:  # TLS: the record is incomplete
                return True
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._guard.check(data, is_playing=self._dialogue.is_playing)
            self._forward_messages(libav, data)
            has_more = isinstance(self._camera, SSLSocket) and self._camera.pending() > 0
        return True

    def _forward_messages(self, libav: socket.socket, data: bytes) -> None:
        now_s, to_client = time.monotonic(), bytearray()
        for message in self._split(self._responses, data):
            step = self._dialogue.response(message, now_s)
            to_client += step.to_client
            if step.to_camera:
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._send(self._camera, step.to_camera)
        self._send(libav, bytes(to_client))

    def _open_udp(self) -> UdpSession:
        if isinstance(self._camera, SSLSocket):
            text = f"{self._label}: it refuses RTP over its TLS connection, and RTP over UDP would not be encrypted"
            raise SourceUnreachable(text, SourceReason.SERVER_ERROR)
        return UdpSession(self._camera, self._label)

    def _split(self, messages: MessageSplitter, data: bytes) -> list[bytes]:
        try:
            return messages.add(data)
        except ValueError as error:
            raise SourceUnreachable(f"{self._label}: {error}", SourceReason.NOT_VIDEO) from error

    def _tear_down(self) -> None:
        """Ends the session and waits for the answer: a camera that allows few sessions would refuse the next one.

        Closing with unread data resets the connection, and the TEARDOWN could be lost.
        """
        deadline_s = time.monotonic() + _TEARDOWN_S
        self._camera.settimeout(_TEARDOWN_S)
        if request := self._dialogue.teardown():
            self._camera.sendall(request)
        while self._dialogue.is_ending and time.monotonic() < deadline_s:
            self._camera.settimeout(max(0.01, deadline_s - time.monotonic()))
            if not (data := self._camera.recv(_CHUNK_NBYTES)):
                break
            for message in self._responses.add(data):
                self._dialogue.response(message, time.monotonic())

    def _send(self, to: socket.socket, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._is_ended:
            with suppress(TimeoutError):
                rest = rest[to.send(rest) :]
