"""An RTSP camera of our own that plays H.264 over its connection, and behaves as oddly as a test asks for."""

from __future__ import annotations

import base64
import functools
import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction

import av

from pipeline.network.rtp import interleave
from pipeline.network.rtsp_messages import MessageSplitter
from tests.pipeline import footage

FPS = 40
_CLOCK = 90_000
METADATA = "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:track2\r\n"
AUDIO = "m=audio 0 RTP/AVP 0\r\na=control:track1\r\n"


@functools.cache
def h264_pictures(frames: int = 20, size: tuple[int, int] = (footage.WIDTH, footage.HEIGHT)) -> list[list[bytes]]:
    """The NAL units of each picture, the first one a key frame with its parameter sets."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt, context.time_base, context.gop_size = "yuv420p", Fraction(1, FPS), 10
    context.options = {"preset": "ultrafast", "tune": "zerolatency"}
    pictures = []
    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(footage.draw(number, *size), format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        pictures += [bytes(packet) for packet in context.encode(frame)]
    pictures += [bytes(packet) for packet in context.encode(None)]
    return [[nal for nal in re.split(rb"\x00\x00\x00?\x01", picture) if nal] for picture in pictures]


def rtp_packet(payload: bytes, number: int, time: int, *, ssrc: int = 7, kind: int = 96, is_last: bool = True) -> bytes:
    head = bytes((0x80, kind | (0x80 if is_last else 0)))
    return head + (number & 0xFFFF).to_bytes(2, "big") + time.to_bytes(4, "big") + ssrc.to_bytes(4, "big") + payload


def usual_packets(camera: RtspCamera, nals: list[bytes], time: int) -> list[bytes]:
    """A packet for each NAL unit."""
    return [rtp_packet(nal, next(camera.numbers), time, is_last=nal is nals[-1]) for nal in nals]


@dataclass
class RtspCamera:
    """What the camera does. Each hook takes a request and returns the whole response, None for the usual one.

    challenges: WWW-Authenticate headers; is_authorized gets the method, the URI and the Authorization header.
    hangs_up_after: a method whose 401 ends the connection. channels: those named in the answer to SETUP.
    video: the description of the video, if it is not H.264.
    packets: makes the packets of a picture.
    """

    hooks: dict[str, Callable[[str], str | None]] = field(default_factory=dict)
    challenges: tuple[str, ...] = ()
    is_authorized: Callable[[str, str, str], bool] = lambda method, uri, header: bool(header)
    hangs_up_after: str = ""
    session: str = "42"
    channels: str = "0-1"
    video: str = ""
    more_media: str = ""
    max_sessions: int = 100
    fps: float = FPS
    packets: Callable[[RtspCamera, list[bytes], int], list[bytes]] = usual_packets
    numbers: Iterator[int] = field(default_factory=itertools.count)
    pictures: list[list[bytes]] = field(default_factory=h264_pictures)
    requests: list[str] = field(default_factory=list)
    port: int = 0
    open_sessions: int = 0

    def methods(self) -> list[str]:
        """The methods of the requests, in order."""
        return [request.partition(" ")[0] for request in self.requests]

    def sdp(self) -> str:
        sets = ",".join(base64.b64encode(nal).decode() for nal in self.pictures[0] if nal[0] & 31 in (7, 8))
        video = self.video or (
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\na=control:track0\r\n"
        )
        return f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=camera\r\nt=0 0\r\na=control:*\r\n{video}{self.more_media}"


class _Connection:
    def __init__(self, camera: RtspCamera, end: socket.socket, stopped: threading.Event) -> None:
        self.camera, self.end, self.stopped = camera, end, stopped
        self.lock, self.has_session, self.is_over = threading.Lock(), False, threading.Event()

    def serve(self) -> None:
        splitter = MessageSplitter()
        with self.end, suppress(OSError):
            while data := self.end.recv(1 << 16):
                for message in splitter.add(data):
                    if not message.startswith(b"$") and not self.answer(message.decode()):
                        return
        self.is_over.set()

    def answer(self, request: str) -> bool:
        camera = self.camera
        camera.requests.append(request)
        method, uri = request.split(" ")[:2]
        header = re.search(r"\r\nAuthorization: ([^\r]*)", request)
        is_refused = bool(camera.challenges) and not camera.is_authorized(method, uri, header[1] if header else "")
        hook = camera.hooks.get(method)
        response = None if hook is None else hook(request)
        if response is None:
            lines = "".join(f"WWW-Authenticate: {text}\r\n" for text in camera.challenges)
            refusal = f"RTSP/1.0 401 Unauthorized\r\n{lines}\r\n"
            response = refusal if is_refused else self.usual(method, uri)
        number = re.search(r"\r\nCSeq: (\d+)", request)
        assert number is not None, request
        status, end, rest = response.partition("\r\n")
        with self.lock:
            self.end.sendall(f"{status}{end}CSeq: {number[1]}\r\n{rest}".encode())
        if method == "PLAY" and " 200 " in status:
            threading.Thread(target=self.play, daemon=True).start()
        return not (is_refused and method == camera.hangs_up_after)

    def usual(self, method: str, uri: str) -> str:
        camera, ok = self.camera, f"RTSP/1.0 200 OK\r\nSession: {self.camera.session}\r\n"
        if method == "OPTIONS":
            return "RTSP/1.0 200 OK\r\nPublic: DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n\r\n"
        if method == "DESCRIBE":
            head = f"RTSP/1.0 200 OK\r\nContent-Base: {uri}/\r\nContent-Type: application/sdp\r\n"
            return f"{head}Content-Length: {len(camera.sdp())}\r\n\r\n{camera.sdp()}"
        if method == "SETUP":
            if not self.has_session and camera.open_sessions >= camera.max_sessions:
                return "RTSP/1.0 453 Not Enough Bandwidth\r\n\r\n"
            camera.open_sessions += not self.has_session
            self.has_session = True
            return f"{ok}Transport: RTP/AVP/TCP;unicast;interleaved={camera.channels}\r\n\r\n"
        if method == "TEARDOWN" and self.has_session:
            camera.open_sessions -= 1
            self.has_session = False
        return f"{ok}\r\n"

    def play(self) -> None:
        camera = self.camera
        channel, picture = min(map(int, camera.channels.split("-"))), 0
        with suppress(OSError):
            while not self.is_over.is_set() and not self.stopped.wait(1 / camera.fps):
                nals, time = camera.pictures[picture % len(camera.pictures)], int(picture * _CLOCK / camera.fps)
                for packet in camera.packets(camera, nals, time):
                    with self.lock:
                        self.end.sendall(interleave(packet, channel))
                picture += 1


@contextmanager
def running(camera: RtspCamera) -> Iterator[str]:
    """The camera, serving on a free port; yields its URL without a login."""
    stopped = threading.Event()

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                end, _ = listener.accept()
                threading.Thread(target=_Connection(camera, end, stopped).serve, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        camera.port = listener.getsockname()[1]
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        try:
            yield f"rtsp://127.0.0.1:{camera.port}/live"
        finally:
            stopped.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
