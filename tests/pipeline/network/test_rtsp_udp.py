"""A camera that sends over UDP only is read like any other: others' packets are ignored, and it is told to stop."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from pipeline.cameras import CameraState, SourceError, SourceReason
from pipeline.network import rtp, rtsp_messages
from pipeline.network.rtsp_messages import MessageSplitter
from pipeline.network.rtsp_proxy import RtspProxy
from pipeline.network.rtsp_udp import MAX_STREAMS, REPORT_EVERY_S, UdpSession
from tests.pipeline import servers
from tests.pipeline.network.test_rtp import packet
from tests.pipeline.playing import QUICK, play, running_feed
from tests.pipeline.servers import TEST_PICTURE, needs_rtsp

LONG_S = 20.0
PATIENT = replace(QUICK, open_timeout_s=LONG_S, stall_after_s=LONG_S)
NOTE = "it sends over UDP: lost packets leave gaps in its frames"
SETUP = "SETUP rtsp://lobby RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved={}\r\nCSeq: 3\r\n\r\n"
UNSUPPORTED = "RTSP/1.0 461 Unsupported Transport\r\nCSeq: {}\r\n\r\n"
GRANTED = "RTSP/1.0 200 OK\r\nCSeq: {}\r\nTransport: RTP/AVP;unicast;{}\r\nSession: 12\r\n\r\n"
OK = "RTSP/1.0 200 OK\r\nCSeq: {}\r\nSession: 12\r\n\r\n"


class Peer:
    """One end of an RTSP connection, message by message."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(LONG_S)
        self.connection = connection
        self._splitter, self._messages = MessageSplitter(), list[bytes]()

    def send(self, text: str) -> None:
        self.connection.sendall(text.encode())

    def receive(self) -> bytes:
        """The next message, b"" at the end."""
        while not self._messages:
            data = self.connection.recv(1 << 16)
            if not data:
                return b""
            self._messages = self._splitter.add(data)
        return self._messages.pop(0)


def number_of(request: bytes) -> int:
    number = rtsp_messages.sequence_number(request)
    assert number is not None
    return number


class Session:
    """A proxy with the test as its client and as its camera, and the camera's UDP ports."""

    def __init__(self, proxy: RtspProxy, libav: Peer, camera: Peer, ends: list[socket.socket]) -> None:
        self.proxy, self.libav, self.camera = proxy, libav, camera
        self.rtp, self.rtcp = ends
        self.own_ports = f"server_port={self.rtp.getsockname()[1]}-{self.rtcp.getsockname()[1]}"
        self.client_address: tuple[str, int] = ("", 0)
        self.number = 0  # of the last request that the camera got

    def set_up(self, channels: str = "0-1") -> None:
        """Sends a SETUP over TCP; the proxy turns it into one over UDP, which sets client_address."""
        self.libav.send(SETUP.format(channels))
        if b"RTP/AVP/TCP" in (request := self.camera.receive()):
            self.camera.send(UNSUPPORTED.format(number_of(request)))
            request = self.camera.receive()
        self.number = number_of(request)
        ports = re.search(rb"\r\nTransport: RTP/AVP;unicast;client_port=(\d+)-(\d+)\r\nCSeq: ", request)
        assert ports is not None, request
        assert int(ports[1]) % 2 == 0
        assert int(ports[2]) == int(ports[1]) + 1
        self.client_address = (self.camera.connection.getsockname()[0], int(ports[1]))

    def grant(self, transport: str | None = None) -> bytes:
        """The camera accepts the SETUP; returns the response that libav gets."""
        self.camera.send(GRANTED.format(self.number, self.own_ports if transport is None else transport))
        return self.libav.receive()

    def play(self) -> None:
        self.libav.send("PLAY rtsp://lobby RTSP/1.0\r\nCSeq: 4\r\n\r\n")
        self.number = number_of(self.camera.receive())
        self.camera.send(OK.format(self.number))
        assert b"CSeq: 4\r\n" in self.libav.receive()

    def send_packets(self, *numbers: int) -> None:
        """RTP packets with these sequence numbers, from the camera."""
        for number in numbers:
            self.rtp.sendto(packet(number), self.client_address)


def udp(host: str) -> socket.socket:
    end = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((host, 0))
    end.settimeout(LONG_S)
    return end


@contextmanager
def open_session(host: str = "127.0.0.1", is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Session]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, 0), family=family))

        def connect() -> socket.socket:
            return socket.create_connection(listener.getsockname()[:2])

        proxy = RtspProxy(connect, "lobby", is_stopped, base_url="rtsp://lobby")
        stack.callback(proxy.close)
        camera, _ = listener.accept()
        libav = socket.create_connection(("127.0.0.1", proxy.port))
        ends = [stack.enter_context(udp(host)) for _ in range(2)]
        yield Session(proxy, Peer(stack.enter_context(libav)), Peer(stack.enter_context(camera)), ends)


@contextmanager
def playing_session(host: str = "127.0.0.1", is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Session]:
    with open_session(host, is_stopped) as session:
        session.set_up()
        session.grant()
        session.play()
        yield session


def has_ipv6() -> bool:
    try:
        udp("::1").close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]
)
def test_udp_packets_arrive_on_the_connection_in_order(host: str) -> None:
    with open_session(host) as session:
        session.set_up()
        session.grant()
        session.send_packets(7, 9, 8, 9, 10)
        session.rtcp.sendto(b"a report", (session.client_address[0], session.client_address[1] + 1))
        session.play()
        received = [session.libav.receive() for _ in range(5)]

    assert [message for message in received if message[1] == 0] == [
        rtp.interleave(packet(number), 0) for number in (7, 8, 9, 10)
    ]
    assert [message for message in received if message[1] == 1] == [rtp.interleave(b"a report", 1)]


def test_a_lost_packet_is_skipped_although_nothing_follows() -> None:
    with playing_session() as session:
        session.send_packets(7, 9)

        assert [session.libav.receive() for _ in range(2)] == [rtp.interleave(packet(number), 0) for number in (7, 9)]


def test_libav_receives_the_channels_that_it_requested() -> None:
    with open_session() as session:
        session.set_up("2-3")
        received = session.grant()

    assert received == (
        b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n"
        b"Session: 12;timeout=60\r\n\r\n"
    )


def test_each_stream_has_ports_of_its_own() -> None:
    with open_session() as session:
        addresses = []
        for channels in ("0-1", "2-3"):
            session.set_up(channels)
            session.grant()
            addresses.append(session.client_address)
        session.play()
        session.rtp.sendto(packet(2), addresses[1])
        second = session.libav.receive()
        session.rtp.sendto(packet(1), addresses[0])
        first = session.libav.receive()

    assert (first, second) == (rtp.interleave(packet(1), 0), rtp.interleave(packet(2), 2))


def test_packets_of_other_senders_are_ignored() -> None:
    """Before the camera's ports are known and after that."""
    with open_session() as session, udp("127.0.0.1") as neighbour, udp("127.0.0.2") as other_host:
        session.set_up()
        for other in (neighbour, other_host):
            other.sendto(packet(1), session.client_address)
        session.grant()
        session.play()
        for other in (neighbour, other_host):
            other.sendto(packet(2), session.client_address)
            other.sendto(b"a report", (session.client_address[0], session.client_address[1] + 1))
        session.send_packets(3)

        assert session.libav.receive() == rtp.interleave(packet(3), 0)


def test_a_camera_that_names_no_ports_may_send_from_any_of_its_ports() -> None:
    with open_session() as session, udp("127.0.0.2") as other_host:
        session.set_up()
        session.grant("mode=play")
        session.play()
        other_host.sendto(packet(1), session.client_address)
        session.send_packets(2)

        assert session.libav.receive() == rtp.interleave(packet(2), 0)


def test_packets_that_arrive_before_the_response_to_play_follow_it() -> None:
    """libav discards earlier packets, and a key frame may begin with them."""
    with open_session() as session:
        session.set_up()
        session.grant()
        session.send_packets(7)
        session.play()

        assert session.libav.receive() == rtp.interleave(packet(7), 0)


def test_both_ports_send_to_the_camera_first_so_that_firewalls_open() -> None:
    with open_session() as session:
        session.set_up()
        session.grant()
        greeting, rtp_address = session.rtp.recvfrom(2048)
        report, rtcp_address = session.rtcp.recvfrom(2048)

    assert (rtp_address[1], rtcp_address[1]) == (session.client_address[1], session.client_address[1] + 1)
    assert len(greeting) == 12
    assert report[1] == 201


def test_the_camera_gets_receiver_reports_at_intervals() -> None:
    """libav sends none over TCP, and some cameras stop without them."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as camera,
        udp("127.0.0.1") as end,
        closing(UdpSession(camera, "lobby")) as session,
    ):
        session.to_camera(SETUP.format("0-1").encode())
        granted = GRANTED.format(4, "server_port={0}-{0}".format(end.getsockname()[1]))
        session.to_client(granted.encode(), SETUP.format("0-1").encode())
        for now_s in (0.0, 0.5 * REPORT_EVERY_S, REPORT_EVERY_S, 1.5 * REPORT_EVERY_S):
            session.receive(now_s)
        received = [end.recv(2048) for _ in range(4)]
        end.settimeout(0.1)
        with pytest.raises(TimeoutError):
            end.recv(2048)

    assert [len(packet) for packet in received] == [12, 28, 28, 28]  # greeting, report with it, two at intervals


def test_requests_are_forwarded_while_playing_and_reports_of_libav_are_not() -> None:
    with playing_session() as session:
        session.libav.connection.sendall(rtp.interleave(b"a report", 1))
        session.libav.send("OPTIONS rtsp://lobby RTSP/1.0\r\nCSeq: 5\r\n\r\n")
        request = session.camera.receive()
        session.camera.send(OK.format(6))
        response = session.libav.receive()

    assert request == b"OPTIONS rtsp://lobby RTSP/1.0\r\nCSeq: 6\r\n\r\n"
    assert b"CSeq: 5\r\n" in response


@pytest.mark.parametrize("ended_by", ["close", "stop"])
def test_the_camera_is_told_to_stop_and_the_ports_are_freed(ended_by: str) -> None:
    stopped: list[bool] = []
    with playing_session(is_stopped=lambda: bool(stopped)) as session:
        closing_thread = threading.Thread(target=session.proxy.close)
        closing_thread.start() if ended_by == "close" else stopped.append(True)
        assert session.libav.receive() == b""
        request = session.camera.receive()
        session.camera.send(OK.format(6))
        assert session.camera.receive() == b""
        wait_until_free(session.client_address)
        session.proxy.close()

    assert request == b"TEARDOWN rtsp://lobby RTSP/1.0\r\nCSeq: 6\r\nSession: 12\r\n\r\n"


@pytest.mark.parametrize("left_by", ["libav", "camera"])
def test_the_ports_are_freed_when_either_end_leaves(left_by: str) -> None:
    with playing_session() as session:
        session.send_packets(7)
        getattr(session, left_by).connection.close()
        wait_until_free(session.client_address)


def wait_until_free(address: tuple[str, int]) -> None:
    deadline_s = time.monotonic() + LONG_S
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            try:
                return end.bind(address)
            except OSError:
                assert time.monotonic() < deadline_s
        time.sleep(0.02)


def failure_of(session: Session) -> SourceError:
    assert session.libav.receive() == b""
    assert session.proxy.failure is not None
    return session.proxy.failure


def test_a_camera_that_sends_from_another_address_is_refused() -> None:
    with open_session() as session:
        session.set_up()
        session.camera.send(GRANTED.format(4, "source=127.0.0.2;server_port=5000-5001"))
        failure = failure_of(session)

    assert failure.reason is SourceReason.ADDRESS_REFUSED
    assert str(failure) == "lobby: it would send from '127.0.0.2'; packets are accepted from 127.0.0.1 only"


def test_a_camera_that_supports_neither_transport_is_refused() -> None:
    with open_session() as session:
        session.set_up()
        session.camera.send(UNSUPPORTED.format(4))

        assert failure_of(session).reason is SourceReason.SERVER_ERROR


def test_a_camera_with_too_many_streams_is_refused() -> None:
    with open_session() as session:
        for stream in range(MAX_STREAMS):
            session.set_up(f"{2 * stream}-{2 * stream + 1}")
            session.grant()
        session.libav.send(SETUP.format("98-99"))

        assert failure_of(session).reason is SourceReason.TOO_LARGE


def test_missing_packets_are_the_failure_until_one_arrives() -> None:
    with playing_session() as session:
        before = session.proxy.failure
        session.send_packets(7)
        session.libav.receive()
        after = session.proxy.failure

    assert before is not None
    assert before.reason is SourceReason.NO_ANSWER
    assert "UDP" in str(before)
    assert after is None


@pytest.mark.rtsp
@needs_rtsp
def test_frames_arrive_although_packets_are_lost() -> None:
    """The audio beside the video is complete."""
    launch = (
        "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=10/1 ! vp8enc deadline=1 "
        "keyframe-max-dist=10 ! rtpvp8pay mtu=400 ! identity drop-probability=0.05 name=pay0 "
        "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 )"
    )
    with servers.rtsp_server(launch, transport="UDP") as (port, _):
        played = play(f"rtsp://127.0.0.1:{port}/live", config=replace(PATIENT, sample_fps=5), max_samples=10)

    assert len(played.samples) == 10
    assert played.notes == [NOTE]


@pytest.mark.rtsp
@needs_rtsp
def test_an_encrypted_camera_is_not_read_over_udp(tmp_path: Path) -> None:
    tls, certificate = servers.make_certificate(tmp_path, "DNS:localhost")
    networks = ("127.0.0.0/8", "::1/128")
    trusting = replace(QUICK, ca_file=certificate, open_timeout_s=10.0, allowed_networks=networks)
    with (
        servers.rtsp_server(TEST_PICTURE, transport="UDP") as (plain, _),
        servers.tls_proxy(plain, tls) as port,
        pytest.raises(SourceError, match="would not be encrypted") as caught,
    ):
        play(f"rtsps://localhost:{port}/live", config=trusting)

    assert caught.value.reason is SourceReason.SERVER_ERROR


@pytest.mark.rtsp
@needs_rtsp
def test_a_camera_that_supports_both_transports_sends_over_tcp() -> None:
    with servers.rtsp_server(TEST_PICTURE) as (port, _):
        assert play(f"rtsp://127.0.0.1:{port}/live", max_samples=2).notes == []


@pytest.mark.rtsp
@needs_rtsp
def test_the_state_notes_that_packets_may_be_lost_and_the_log_has_it_once() -> None:
    with (
        structlog.testing.capture_logs() as logged,
        servers.rtsp_server(TEST_PICTURE, transport="UDP") as (port, _),
        running_feed(f"rtsp://127.0.0.1:{port}/live", config=PATIENT) as feed,
    ):
        for _ in range(2):
            feed.take()
        detail = feed.wait_for(CameraState.LIVE)

    assert detail == NOTE
    assert [event["event"] for event in logged if NOTE in str(event)] == ["camera_state"]
