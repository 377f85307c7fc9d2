"""A camera that sends over UDP alone is read like any other: nobody but it is heard, and it is told when to stop."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from pipeline.cameras import CameraState, SourceError, SourceReason
from pipeline.network import rtp
from pipeline.network.rtsp_messages import MessageSplitter
from pipeline.network.rtsp_proxy import RtspProxy
from pipeline.network.rtsp_udp import MAX_STREAMS, REPORT_EVERY_S, UdpSession
from tests.pipeline import servers
from tests.pipeline.network.test_rtp import packet
from tests.pipeline.playing import QUICK, play, running_feed
from tests.pipeline.servers import TEST_PICTURE, needs_rtsp

LONG_S = 20.0
PATIENT = replace(QUICK, open_timeout_s=LONG_S, stall_after_s=LONG_S)
REMARK = "it sends over UDP: lost packets leave gaps in its pictures"
SETUP = "SETUP rtsp://lobby RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved={}\r\nCSeq: 3\r\n\r\n"
REFUSED = "RTSP/1.0 461 Unsupported Transport\r\nCSeq: {}\r\n\r\n"
GRANTED = "RTSP/1.0 200 OK\r\nCSeq: {}\r\nTransport: RTP/AVP;unicast;{}\r\nSession: 12\r\n\r\n"
FINE = "RTSP/1.0 200 OK\r\nCSeq: {}\r\nSession: 12\r\n\r\n"


class End:
    """One end of a connection, message by message."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(LONG_S)
        self.connection = connection
        self._messages, self._heard = MessageSplitter(), list[bytes]()

    def say(self, text: str) -> None:
        self.connection.sendall(text.encode())

    def hear(self) -> bytes:
        """The next message, b"" at the end."""
        while not self._heard:
            data = self.connection.recv(1 << 16)
            if not data:
                return b""
            self._heard = self._messages.add(data)
        return self._heard.pop(0)


class Call:
    """A proxy with a test at both of its ends, and the camera's ports."""

    def __init__(self, proxy: RtspProxy, libav: End, camera: End, ends: list[socket.socket]) -> None:
        self.proxy, self.libav, self.camera = proxy, libav, camera
        self.rtp, self.rtcp = ends
        self.own_ports = f"server_port={self.rtp.getsockname()[1]}-{self.rtcp.getsockname()[1]}"
        self.there: tuple[str, int] = ("", 0)

    def ask_for_udp(self, channels: str = "0-1") -> None:
        """Up to a SETUP that asks for UDP; where that shall come then is known."""
        self.libav.say(SETUP.format(channels))
        if b"RTP/AVP/TCP" in (asked := self.camera.hear()):
            self.camera.say(REFUSED.format(3))
            asked = self.camera.hear()
        found = re.search(rb"\r\nTransport: RTP/AVP;unicast;client_port=(\d+)-(\d+)\r\nCSeq: 4\r\n", asked)
        assert found is not None, asked
        assert int(found[1]) % 2 == 0
        assert int(found[2]) == int(found[1]) + 1
        self.there = (self.camera.connection.getsockname()[0], int(found[1]))

    def grant(self, transport: str | None = None) -> bytes:
        """The camera takes it; what libav hears of that."""
        self.camera.say(GRANTED.format(4, self.own_ports if transport is None else transport))
        return self.libav.hear()

    def play(self) -> None:
        self.libav.say("PLAY rtsp://lobby RTSP/1.0\r\nCSeq: 4\r\n\r\n")
        assert b"CSeq: 5\r\n" in self.camera.hear()
        self.camera.say(FINE.format(5))
        assert b"CSeq: 4\r\n" in self.libav.hear()

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self.rtp.sendto(packet(number), self.there)


def udp(host: str) -> socket.socket:
    end = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((host, 0))
    end.settimeout(LONG_S)
    return end


@contextmanager
def calling(host: str = "127.0.0.1", is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Call]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        door = stack.enter_context(socket.create_server((host, 0), family=family))
        proxy = RtspProxy(socket.create_connection(door.getsockname()[:2]), "lobby", is_stopped)
        stack.callback(proxy.close)
        camera, _ = door.accept()
        libav = socket.create_connection(("127.0.0.1", proxy.port))
        ends = [stack.enter_context(udp(host)) for _ in range(2)]
        yield Call(proxy, End(stack.enter_context(libav)), End(stack.enter_context(camera)), ends)


@contextmanager
def playing(host: str = "127.0.0.1", is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Call]:
    with calling(host, is_stopped) as call:
        call.ask_for_udp()
        call.grant()
        call.play()
        yield call


def has_ipv6() -> bool:
    try:
        udp("::1").close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]
)
def test_what_comes_over_udp_is_heard_on_the_connection_in_order(host: str) -> None:
    with calling(host) as call:
        call.ask_for_udp()
        call.grant()
        call.send(7, 9, 8, 9, 10)
        call.rtcp.sendto(b"a report", (call.there[0], call.there[1] + 1))
        call.play()
        heard = [call.libav.hear() for _ in range(5)]

    assert [one for one in heard if one[1] == 0] == [rtp.interleave(packet(number), 0) for number in (7, 8, 9, 10)]
    assert [one for one in heard if one[1] == 1] == [rtp.interleave(b"a report", 1)]


def test_a_lost_packet_is_passed_over_although_nothing_follows() -> None:
    with playing() as call:
        call.send(7, 9)

        assert [call.libav.hear() for _ in range(2)] == [rtp.interleave(packet(number), 0) for number in (7, 9)]


def test_libav_hears_that_it_got_its_channels() -> None:
    with calling() as call:
        call.ask_for_udp("2-3")
        heard = call.grant()

    assert heard == (
        b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\nSession: 12\r\n\r\n"
    )


def test_each_stream_has_ports_of_its_own() -> None:
    with calling() as call:
        places = []
        for channels in ("0-1", "2-3"):
            call.ask_for_udp(channels)
            call.grant()
            places.append(call.there)
        call.play()
        call.rtp.sendto(packet(2), places[1])
        second = call.libav.hear()
        call.rtp.sendto(packet(1), places[0])
        first = call.libav.hear()

    assert (first, second) == (rtp.interleave(packet(1), 0), rtp.interleave(packet(2), 2))


def test_packets_of_others_are_ignored() -> None:
    """Before it is known where the camera sends from, and after that."""
    with calling() as call, udp("127.0.0.1") as neighbour, udp("127.0.0.2") as stranger:
        call.ask_for_udp()
        for other in (neighbour, stranger):
            other.sendto(packet(1), call.there)
        call.grant()
        call.play()
        for other in (neighbour, stranger):
            other.sendto(packet(2), call.there)
            other.sendto(b"a report", (call.there[0], call.there[1] + 1))
        call.send(3)

        assert call.libav.hear() == rtp.interleave(packet(3), 0)


def test_a_camera_that_names_no_ports_may_use_any_of_its_own() -> None:
    with calling() as call, udp("127.0.0.2") as stranger:
        call.ask_for_udp()
        call.grant("mode=play")
        call.play()
        stranger.sendto(packet(1), call.there)
        call.send(2)

        assert call.libav.hear() == rtp.interleave(packet(2), 0)


def test_what_comes_before_play_is_answered_follows_the_answer() -> None:
    """libav throws away what comes earlier, and a key frame may begin with it."""
    with calling() as call:
        call.ask_for_udp()
        call.grant()
        call.send(7)
        call.play()

        assert call.libav.hear() == rtp.interleave(packet(7), 0)


def test_the_camera_is_greeted_from_both_ports_so_that_firewalls_let_it_in() -> None:
    with calling() as call:
        call.ask_for_udp()
        call.grant()
        greeting, here = call.rtp.recvfrom(2048)
        report, here_too = call.rtcp.recvfrom(2048)

    assert (here[1], here_too[1]) == (call.there[1], call.there[1] + 1)
    assert len(greeting) == 12
    assert report[1] == 201


def test_the_camera_hears_now_and_then_that_somebody_listens() -> None:
    """libav says nothing of the kind on a connection, and some cameras stop without it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.create_connection(door.getsockname()) as camera,
        udp("127.0.0.1") as end,
        closing(UdpSession(camera, "lobby")) as session,
    ):
        session.to_camera(SETUP.format("0-1").encode())
        session.to_client(GRANTED.format(4, "server_port={0}-{0}".format(end.getsockname()[1])).encode())
        for now_s in (0.0, 0.5 * REPORT_EVERY_S, REPORT_EVERY_S, 1.5 * REPORT_EVERY_S):
            session.receive(now_s)
        heard = [end.recv(2048) for _ in range(4)]
        end.settimeout(0.1)
        with pytest.raises(TimeoutError):
            end.recv(2048)

    assert [len(one) for one in heard] == [12, 28, 28, 28]  # the greeting, one report with it, and two in time


def test_requests_go_on_while_pictures_come_and_reports_stay_here() -> None:
    with playing() as call:
        call.libav.connection.sendall(rtp.interleave(b"a report", 1))
        call.libav.say("OPTIONS rtsp://lobby RTSP/1.0\r\nCSeq: 5\r\n\r\n")
        asked = call.camera.hear()
        call.camera.say(FINE.format(6))
        answered = call.libav.hear()

    assert asked == b"OPTIONS rtsp://lobby RTSP/1.0\r\nCSeq: 6\r\n\r\n"
    assert b"CSeq: 5\r\n" in answered


@pytest.mark.parametrize("ended_by", ["close", "stop"])
def test_the_camera_is_told_to_stop_and_the_ports_are_freed(ended_by: str) -> None:
    stopped: list[bool] = []
    with playing(is_stopped=lambda: bool(stopped)) as call:
        call.proxy.close() if ended_by == "close" else stopped.append(True)
        assert call.libav.hear() == b""
        call.libav.say("TEARDOWN rtsp://lobby RTSP/1.0\r\nCSeq: 5\r\n\r\n")
        told = call.camera.hear()
        call.camera.say(FINE.format(6))
        call.libav.connection.close()
        assert call.camera.hear() == b""
        wait_until_free(call.there)

    assert told == b"TEARDOWN rtsp://lobby RTSP/1.0\r\nCSeq: 6\r\n\r\n"


@pytest.mark.parametrize("left_by", ["libav", "camera"])
def test_the_ports_are_freed_when_either_end_leaves(left_by: str) -> None:
    with playing() as call:
        call.send(7)
        getattr(call, left_by).connection.close()
        wait_until_free(call.there)


def wait_until_free(there: tuple[str, int]) -> None:
    deadline_s = time.monotonic() + LONG_S
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            try:
                return end.bind(there)
            except OSError:
                assert time.monotonic() < deadline_s
        time.sleep(0.02)


def failure_of(call: Call) -> SourceError:
    assert call.libav.hear() == b""
    assert call.proxy.failure is not None
    return call.proxy.failure


def test_a_camera_that_sends_from_elsewhere_is_refused() -> None:
    with calling() as call:
        call.ask_for_udp()
        call.camera.say(GRANTED.format(4, "source=127.0.0.2;server_port=5000-5001"))
        failure = failure_of(call)

    assert failure.reason is SourceReason.ADDRESS_REFUSED
    assert str(failure) == "lobby: it would send from '127.0.0.2'; packets are accepted from 127.0.0.1 only"


def test_a_camera_that_takes_neither_is_refused() -> None:
    with calling() as call:
        call.ask_for_udp()
        call.camera.say(REFUSED.format(4))

        assert failure_of(call).reason is SourceReason.SERVER_ERROR


def test_a_camera_of_many_streams_is_refused() -> None:
    with calling() as call:
        for stream in range(MAX_STREAMS):
            call.ask_for_udp(f"{2 * stream}-{2 * stream + 1}")
            call.grant()
        call.libav.say(SETUP.format("98-99"))

        assert failure_of(call).reason is SourceReason.TOO_LARGE


def test_that_nothing_arrives_is_said_until_something_does() -> None:
    with playing() as call:
        before = call.proxy.failure
        call.send(7)
        call.libav.hear()
        after = call.proxy.failure

    assert before is not None
    assert before.reason is SourceReason.NO_ANSWER
    assert "UDP" in str(before)
    assert after is None


@pytest.mark.rtsp
@needs_rtsp
def test_pictures_come_although_packets_are_lost() -> None:
    """Beside them comes sound, whole."""
    launch = (
        "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=10/1 ! vp8enc deadline=1 "
        "keyframe-max-dist=10 ! rtpvp8pay mtu=400 ! identity drop-probability=0.05 name=pay0 "
        "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 )"
    )
    with servers.rtsp_server(launch, transport="UDP") as (port, _):
        played = play(f"rtsp://127.0.0.1:{port}/live", config=PATIENT, max_samples=10)

    assert len(played.samples) == 10
    assert played.notes == [REMARK]


@pytest.mark.rtsp
@needs_rtsp
def test_what_is_encrypted_stays_on_its_connection(tmp_path: Path) -> None:
    tls, made = servers.make_certificate(tmp_path, "DNS:localhost")
    believing = replace(QUICK, ca_file=made, open_timeout_s=10.0, allowed_networks=("127.0.0.0/8", "::1/128"))
    with (
        servers.rtsp_server(TEST_PICTURE, transport="UDP") as (plain, _),
        servers.tls_proxy(plain, tls) as port,
        pytest.raises(SourceError, match="would not be encrypted") as caught,
    ):
        play(f"rtsps://localhost:{port}/live", config=believing)

    assert caught.value.reason is SourceReason.SERVER_ERROR


@pytest.mark.rtsp
@needs_rtsp
def test_a_camera_that_takes_both_sends_over_its_connection() -> None:
    with servers.rtsp_server(TEST_PICTURE) as (port, _):
        assert play(f"rtsp://127.0.0.1:{port}/live", max_samples=2).notes == []


@pytest.mark.rtsp
@needs_rtsp
def test_it_is_said_beside_the_state_and_once_in_the_log_that_packets_may_be_lost() -> None:
    with (
        structlog.testing.capture_logs() as logged,
        servers.rtsp_server(TEST_PICTURE, transport="UDP") as (port, _),
        running_feed(f"rtsp://127.0.0.1:{port}/live", config=PATIENT) as watched,
    ):
        for _ in range(2):
            watched.take()
        said = watched.wait_for(CameraState.LIVE)

    assert said == REMARK
    assert [event["event"] for event in logged if REMARK in str(event)] == ["camera_state"]
