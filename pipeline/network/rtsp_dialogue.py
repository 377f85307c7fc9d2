"""The dialogue between libav and an RTSP camera: logs in, chooses the video, and makes odd answers plain.

Knows no sockets. Either side's messages go in, and what each side shall get comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.cameras import SourceReason, SourceUnreachable
from pipeline.network import rtp, rtsp_messages
from pipeline.network.http_auth import LOGIN_HINT, Login
from pipeline.network.rtp import SourceFilter
from pipeline.network.rtsp_messages import UNSUPPORTED_TRANSPORT
from pipeline.network.rtsp_udp import UdpSession

MIN_SESSION_S, MAX_SESSION_S = 4, 120  # libav sends a keep-alive after half of it
_FRAME_NBYTES = 4  # before a packet on the connection
_MAX_PENDING = 16  # requests without a response


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a message: bytes for either side."""

    to_camera: bytes = b""
    to_client: bytes = b""


@dataclass(slots=True)
class _Request:
    """A request of the client's, as it sent it."""

    message: bytes
    method: bytes
    has_answered_challenge: bool = False


class RtspDialogue:
    """One connection's messages. Belongs to the proxy's thread.

    camera_base, client_base: the beginning of the camera's URLs as the operator wrote it, and as libav knows it.
    login: None without credentials. open_udp: called once, if the camera refuses RTP over the connection.
    """

    def __init__(
        self, label: str, *, camera_base: str, client_base: str, login: Login | None, open_udp: Callable[[], UdpSession]
    ) -> None:
        self._label, self._login, self._open_udp = label, login, open_udp
        self._camera_base, self._client_base = camera_base.encode(), client_base.encode()
        self._number = 0  # of the last request
        self._pending: dict[int, _Request] = {}
        self._filters: dict[int, SourceFilter] = {}  # by RTP channel
        self._session = ""
        self._url = b""  # of the whole stream
        self.udp: UdpSession | None = None
        self.is_playing = self.has_packets = False

    @property
    def can_begin_anew(self) -> bool:
        """Whether what the camera has not answered could go over another connection: there is no session yet."""
        return bool(self._pending) and not self._session

    @property
    def is_ending(self) -> bool:
        """Whether the camera has not answered the TEARDOWN yet."""
        return any(request.method == b"TEARDOWN" for request in self._pending.values())

    @property
    def has_other_sources(self) -> bool:
        """Whether one channel carries packets of several senders."""
        is_over_udp = self.udp is not None and self.udp.has_other_sources
        return is_over_udp or any(one.has_others for one in self._filters.values())

    def request(self, message: bytes) -> bytes:
        """The client's message as the camera gets it. Raises SourceError."""
        if message.startswith(b"$"):  # over UDP the session sends its own reports
            return message if self.udp is None else b""
        method = rtsp_messages.method(message)
        if not method:
            return message
        if len(self._pending) >= _MAX_PENDING:
            del self._pending[min(self._pending)]
        number = rtsp_messages.sequence_number(message) or 0
        self._number = max(self._number, number - 1)
        if method in (b"DESCRIBE", b"PLAY"):
            self._url = rtsp_messages.uri(message)
        self.is_playing = self.is_playing or method == b"PLAY"
        if method == b"TEARDOWN":
            self._session = ""
        return self._send(_Request(message, method))

    def repeat(self) -> bytes:
        """The requests that have no response, for another connection."""
        requests, self._pending = self._pending.values(), {}
        return b"".join(self._send(request) for request in requests)

    def teardown(self) -> bytes:
        """The request that ends the session, b"" if there is none or the client has ended it."""
        if not self._session:
            return b""
        url = (self._url or self._client_base).decode(errors="replace")
        message = f"TEARDOWN {url} RTSP/1.0\r\nCSeq: 0\r\nSession: {self._session}\r\n\r\n".encode()
        self._session = ""
        return self._send(_Request(message, b"TEARDOWN"))

    def response(self, message: bytes, now_s: float) -> Step:
        """What follows from a message of the camera's. Raises SourceError."""
        if message.startswith(b"$"):
            return Step(to_client=message if self._passes(message, now_s) else b"")
        status = rtsp_messages.status(message)
        if status is None:
            return Step(to_client=message)
        request = self._answered(message)
        if request is None:
            return Step(to_client=message)
        if status == 401:
            return self._log_in(request, message)
        if status == UNSUPPORTED_TRANSPORT and self.udp is None and rtsp_messages.requested_channels(request.message):
            self.udp = self._open_udp()
            return Step(to_camera=self._send(request))
        if request.method == b"OPTIONS" and status >= 400:  # DESCRIBE will say what is wrong, if anything is
            message = b"RTSP/1.0 200 OK\r\nCSeq: 0\r\n\r\n"
        return Step(to_client=self._for_client(request, message, status))

    def _send(self, request: _Request) -> bytes:
        self._number += 1
        self._pending[self._number] = request
        message = rtsp_messages.with_base(request.message, self._client_base, self._camera_base)
        if self.udp is not None:
            message = self.udp.to_camera(message)
        message = rtsp_messages.with_header(message, b"CSeq", str(self._number).encode())
        uri = rtsp_messages.uri(message).decode(errors="replace")
        header = None if self._login is None else self._login.header(request.method.decode(), uri)
        return message if header is None else rtsp_messages.with_header(message, b"Authorization", header.encode())

    def _answered(self, response: bytes) -> _Request | None:
        """The request that the response answers. Some cameras do not repeat its number."""
        number = rtsp_messages.sequence_number(response)
        if number not in self._pending:
            number = min(self._pending, default=None)
        return None if number is None else self._pending.pop(number)

    def _log_in(self, request: _Request, message: bytes) -> Step:
        challenges = rtsp_messages.headers(message, b"WWW-Authenticate")
        if self._login is not None and not request.has_answered_challenge and self._login.accept(challenges):
            request.has_answered_challenge = True
            return Step(to_camera=self._send(request))
        if self.is_playing and request.method != b"PLAY":  # a keep-alive
            return Step(to_client=self._for_client(request, message, 401))
        text = f"{self._label}: 401 Unauthorized; {LOGIN_HINT}"
        if self._login is not None and not request.has_answered_challenge:
            text = f"{self._label}: 401 Unauthorized; it offers no login by Digest (MD5, SHA-256) or Basic"
        raise SourceUnreachable(text, SourceReason.UNAUTHORIZED)

    def _for_client(self, request: _Request, message: bytes, status: int) -> bytes:
        if self.udp is not None:
            message = self.udp.to_client(message, request.message)
        channels = rtsp_messages.requested_channels(request.message)
        if status == 200 and channels is not None:
            message = self._set_up(message, channels)
        if status == 200 and request.method == b"DESCRIBE":
            message = rtsp_messages.with_video_only(message)
        number = rtsp_messages.sequence_number(request.message) or 0
        return rtsp_messages.with_header(message, b"CSeq", str(number).encode())

    def _set_up(self, message: bytes, requested: tuple[int, int]) -> bytes:
        """The response to a SETUP in the form that libav expects: channels in order, a time limit that it can keep."""
        channels = rtsp_messages.granted_channels(message, requested)
        if channels is not None:
            message = rtsp_messages.with_channels(message, channels)
            self._filters[channels[0]] = SourceFilter()
        session, limit_s = rtsp_messages.session(message)
        if not session:
            return message
        self._session = session
        limit_s = max(MIN_SESSION_S, min(MAX_SESSION_S, limit_s))
        return rtsp_messages.with_header(message, b"Session", f"{session};timeout={limit_s}".encode())

    def _passes(self, frame: bytes, now_s: float) -> bool:
        if (one := self._filters.get(frame[1])) is None:
            return True
        self.has_packets = True
        rtp.require_jpeg_size(frame, self._label, start=_FRAME_NBYTES)
        return one.accepts(frame, now_s, start=_FRAME_NBYTES)
