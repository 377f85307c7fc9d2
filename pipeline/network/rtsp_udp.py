"""A camera that sends over UDP alone, for a client that reads its RTSP connection alone."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import rtp, rtsp_messages
from pipeline.network.rtp import ReorderBuffer
from pipeline.network.rtsp_messages import UNSUPPORTED_TRANSPORT

REPORT_EVERY_S = 5.0  # RFC 3550, 6.2
MOST_STREAMS = 8
_PAIR_TRIES = 32
_MOST_AT_ONCE = 128  # packets
_LARGEST = 1 << 16
_BUFFER_NBYTES = 1 << 21  # a key frame comes at once; the system may allow less (net.core.rmem_max)


class UdpSession:
    """Stands between client and camera from the first SETUP that asks for UDP. Belongs to the relay's thread."""

    def __init__(self, camera: socket.socket, label: str) -> None:
        self.is_playing = self.has_received = False
        self._camera, self._label = camera, label
        self._streams: dict[tuple[int, int], _Stream] = {}
        self._asked = b""
        self._report_at_s = 0.0

    @property
    def sockets(self) -> list[socket.socket]:
        """Where packets come in."""
        return [end for stream in self._streams.values() for end in (stream.rtp, stream.rtcp)]

    def asked(self, message: bytes) -> bytes:
        """What the client says, for the camera: one more request was made than it knows of. Raises SourceError."""
        if message.startswith(b"$"):  # reports, of which ours take the place
            return b""
        if rtsp_messages.status(message) is not None:
            return message
        self._asked = message
        if (channels := rtsp_messages.channels_asked(message)) is not None:
            message = rtsp_messages.asking_udp(message, self._stream(channels).port)
        return rtsp_messages.renumbered(message, 1)

    def answered(self, message: bytes) -> bytes:
        """What the camera says, for the client. Raises SourceError."""
        status = rtsp_messages.status(message)
        if status is None:
            return message
        channels = rtsp_messages.channels_asked(self._asked)
        if channels is not None and status == UNSUPPORTED_TRANSPORT:
            text = f"{self._label}: it sends neither over TCP nor over UDP to us alone"
            raise SourceUnreachable(text, SourceReason.SERVER_ERROR)
        if channels is not None and status == 200:
            camera = self._camera.getpeername()[0]
            self._streams[channels].expect(rtsp_messages.ports_granted(message, camera, label=self._label))
            message = rtsp_messages.giving_channels(message, channels)
        self.is_playing = self.is_playing or (status == 200 and self._asked.startswith(b"PLAY "))
        return rtsp_messages.renumbered(message, -1)

    def received(self, now_s: float) -> bytes:
        """What has come and is in order by now, as packets of the connection."""
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + REPORT_EVERY_S
            for stream in self._streams.values():
                stream.report()
        data = b"".join(packet for stream in self._streams.values() for packet in stream.received(now_s))
        self.has_received = self.has_received or bool(data)
        return data

    def close(self) -> None:
        """Frees the ports."""
        for end in self.sockets:
            end.close()

    def _stream(self, channels: tuple[int, int]) -> _Stream:
        """The stream's ports; the same where a SETUP is repeated."""
        if channels not in self._streams:
            if len(self._streams) == MOST_STREAMS:
                raise SourceInvalid(f"{self._label}: it has more than {MOST_STREAMS} streams", SourceReason.TOO_LARGE)
            try:
                self._streams[channels] = _Stream(self._camera, channels)
            except OSError as error:
                text = f"{self._label}: it sends over UDP, and no two ports are free here: {error.strerror}"
                raise SourceUnreachable(text) from error
        return self._streams[channels]


class _Stream:
    """Two ports on the address that faces the camera, an even one for RTP and the next for RTCP."""

    def __init__(self, camera: socket.socket, channels: tuple[int, int]) -> None:
        """Opens them. Raises OSError."""
        self.rtp, self.rtcp = _open_pair(camera)
        self.port: int = self.rtp.getsockname()[1]
        self._camera, self._channels = camera.getpeername(), channels
        self._ports: tuple[int, int] | None = None
        self._in_order = ReorderBuffer()
        self._ssrc = random.getrandbits(32)

    def expect(self, ports: tuple[int, int] | None) -> None:
        """From now on the camera sends, from these ports if it has named them."""
        self._ports = ports
        if ports is None:
            return
        for end, port in zip((self.rtp, self.rtcp), ports, strict=True):
            end.connect((self._camera[0], port, *self._camera[2:]))
        with suppress(OSError):
            self.rtp.send(rtp.greeting(self._ssrc))
        self.report()

    def report(self) -> None:
        """Says that somebody listens, if it is known where."""
        with suppress(OSError):
            self.rtcp.send(rtp.receiver_report(self._ssrc))

    def received(self, now_s: float) -> Iterator[bytes]:
        for_rtp, for_rtcp = self._channels
        from_rtp, from_rtcp = self._ports or (None, None)
        for packet in self._packets(self.rtp, from_rtp):
            for ordered in self._in_order.add(packet, now_s):
                yield rtp.interleaved(ordered, for_rtp)
        for ordered in self._in_order.overdue(now_s):
            yield rtp.interleaved(ordered, for_rtp)
        for packet in self._packets(self.rtcp, from_rtcp):
            yield rtp.interleaved(packet, for_rtcp)

    def _packets(self, end: socket.socket, port: int | None) -> Iterator[bytes]:
        """What is at hand from the camera. Others' packets may have come before it was known where it sends from."""
        for _ in range(_MOST_AT_ONCE):
            try:
                packet, sender = end.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # an echo: what we sent was not taken
                continue
            if sender[0] == self._camera[0] and port in (None, sender[1]):
                yield packet


def _open_pair(camera: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Bound sockets of an even port and the next. Raises OSError."""
    tries = _PAIR_TRIES
    while True:
        first = _open(camera, 0)
        port = first.getsockname()[1]
        try:
            second = _open(camera, port ^ 1)
        except OSError:
            first.close()
            tries -= 1
            if not tries:
                raise
            continue
        return (second, first) if port % 2 else (first, second)


def _open(camera: socket.socket, port: int) -> socket.socket:
    host, _, *scope = camera.getsockname()
    end = socket.socket(camera.family, socket.SOCK_DGRAM)
    try:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_NBYTES)
        end.bind((host, port, *scope))
    except OSError:
        end.close()
        raise
    return end
