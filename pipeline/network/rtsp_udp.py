"""Reads a camera that sends RTP over UDP only, for a client that reads only its RTSP connection."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import rtp, rtsp_messages
from pipeline.network.rtp import ReorderBuffer, SourceFilter
from pipeline.network.rtsp_messages import UNSUPPORTED_TRANSPORT

REPORT_EVERY_S = 5.0  # RFC 3550, 6.2
MAX_STREAMS = 8
_MAX_PAIR_TRIES = 32
_MAX_PACKETS_PER_READ = 128
_MAX_DATAGRAM_NBYTES = 1 << 16
_BUFFER_NBYTES = 1 << 21  # a key frame arrives as one burst; the system may allow less (net.core.rmem_max)


class UdpSession:
    """Rewrites the transport of requests and responses once the camera uses UDP. Belongs to the proxy's thread."""

    def __init__(self, camera: socket.socket, label: str) -> None:
        self.is_playing = self.has_received = False
        self._camera, self._label = camera, label
        self._streams: dict[tuple[int, int], _Stream] = {}
        self._report_at_s = 0.0

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets that receive packets."""
        return [end for stream in self._streams.values() for end in (stream.rtp, stream.rtcp)]

    def to_camera(self, request: bytes) -> bytes:
        """The client's request for the camera: a SETUP asks for UDP. Raises SourceError."""
        channels = rtsp_messages.requested_channels(request)
        return request if channels is None else rtsp_messages.with_udp_port(request, self._stream(channels).port)

    def to_client(self, response: bytes, request: bytes) -> bytes:
        """The camera's response to the client's request, as the client gets it. Raises SourceError."""
        status, channels = rtsp_messages.status(response), rtsp_messages.requested_channels(request)
        if channels is not None and status == UNSUPPORTED_TRANSPORT:
            text = f"{self._label}: it offers RTP neither over TCP nor over unicast UDP"
            raise SourceUnreachable(text, SourceReason.SERVER_ERROR)
        if channels is not None and status == 200:
            address = self._camera.getpeername()[0]
            self._streams[channels].expect(rtsp_messages.server_ports(response, address, label=self._label))
            response = rtsp_messages.with_channels(response, channels)
        self.is_playing = self.is_playing or (status == 200 and request.startswith(b"PLAY "))
        return response

    def receive(self, now_s: float) -> bytes:
        """The packets that have arrived and are in order, framed for the RTSP connection. Sends reports when due."""
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + REPORT_EVERY_S
            for stream in self._streams.values():
                stream.report()
        data = b"".join(packet for stream in self._streams.values() for packet in stream.receive(now_s))
        self.has_received = self.has_received or bool(data)
        return data

    @property
    def has_other_sources(self) -> bool:
        """Whether one port gets packets of several senders."""
        return any(stream.filter.has_others for stream in self._streams.values())

    def close(self) -> None:
        """Frees the ports."""
        for end in self.sockets:
            end.close()

    def _stream(self, channels: tuple[int, int]) -> _Stream:
        """The stream of these channels. A repeated SETUP gets the same ports."""
        if channels not in self._streams:
            if len(self._streams) == MAX_STREAMS:
                text = f"{self._label}: it has too many streams (limit {MAX_STREAMS})"
                raise SourceInvalid(text, SourceReason.TOO_LARGE)
            try:
                self._streams[channels] = _Stream(self._camera, channels, self._label)
            except OSError as error:
                text = f"{self._label}: it sends over UDP, and no pair of free UDP ports was found: {error.strerror}"
                raise SourceUnreachable(text) from error
        return self._streams[channels]


class _Stream:
    """A pair of ports on the address that faces the camera: an even one for RTP, the next one for RTCP."""

    def __init__(self, camera: socket.socket, channels: tuple[int, int], label: str) -> None:
        """Opens the ports. Raises OSError."""
        self._label = label
        self.rtp, self.rtcp = _open_pair(camera)
        self.port: int = self.rtp.getsockname()[1]
        self._camera, self._channels = camera.getpeername(), channels
        self._server_ports: tuple[int, int] | None = None
        self._reorder_buffer = ReorderBuffer()
        self.filter = SourceFilter()
        self._ssrc = random.getrandbits(32)

    def expect(self, server_ports: tuple[int, int] | None) -> None:
        """Accepts packets from these ports of the camera only; None if the camera named none."""
        self._server_ports = server_ports
        if server_ports is None:
            return
        for end, port in zip((self.rtp, self.rtcp), server_ports, strict=True):
            end.connect((self._camera[0], port, *self._camera[2:]))
        with suppress(OSError):
            self.rtp.send(rtp.greeting(self._ssrc))
        self.report()

    def report(self) -> None:
        """Sends a receiver report, if the camera's port is known."""
        with suppress(OSError):
            self.rtcp.send(rtp.receiver_report(self._ssrc))

    def receive(self, now_s: float) -> Iterator[bytes]:
        rtp_channel, rtcp_channel = self._channels
        rtp_port, rtcp_port = self._server_ports or (None, None)
        for packet in self._packets(self.rtp, rtp_port):
            rtp.require_jpeg_size(packet, self._label)
            if not self.filter.accepts(packet, now_s):
                continue
            for ordered in self._reorder_buffer.add(packet, now_s):
                yield rtp.interleave(ordered, rtp_channel)
        for ordered in self._reorder_buffer.take_overdue(now_s):
            yield rtp.interleave(ordered, rtp_channel)
        for packet in self._packets(self.rtcp, rtcp_port):
            yield rtp.interleave(packet, rtcp_channel)

    def _packets(self, end: socket.socket, port: int | None) -> Iterator[bytes]:
        """The camera's packets that are at hand. Before `connect`, packets of other senders may have arrived too."""
        for _ in range(_MAX_PACKETS_PER_READ):
            try:
                packet, sender = end.recvfrom(_MAX_DATAGRAM_NBYTES)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error in response to our own packet
                continue
            if sender[0] == self._camera[0] and port in (None, sender[1]):
                yield packet


def _open_pair(camera: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Bound sockets of an even port and the next. Raises OSError."""
    tries = _MAX_PAIR_TRIES
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
