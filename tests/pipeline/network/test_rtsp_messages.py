"""RTSP messages are split wherever a connection cuts them, and rewritten between TCP and UDP transport."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cameras import SourceError, SourceReason
from pipeline.network import rtsp_messages
from pipeline.network.rtsp_messages import MAX_MESSAGE_NBYTES, MessageSplitter

SETUP = (
    b"SETUP rtsp://127.0.0.1:40801/live/stream=0 RTSP/1.0\r\n"
    b"Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\nCSeq: 3\r\nUser-Agent: Lavf62.12.102\r\n\r\n"
)
CAMERA = "10.0.0.5"
values = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=40).map(str.encode)
names = st.from_regex(rb"X-[A-Za-z-]{1,20}", fullmatch=True)
bodies = st.binary(max_size=200)
packets = st.builds(lambda channel, data: b"$" + bytes((channel,)) + len(data).to_bytes(2, "big") + data,
                    st.integers(0, 255), bodies)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn, first: bytes = b"RTSP/1.0 200 OK", lines: tuple[bytes, ...] = ()) -> bytes:
    """A head with these lines and unknown ones in any order."""
    unknown = [b"%s: %s" % pair for pair in draw(st.lists(st.tuples(names, values), max_size=4))]
    return b"\r\n".join((first, *draw(st.permutations([*lines, *unknown])), b"", b""))


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    body = draw(bodies)
    return draw(heads(lines=(b"Content-length: %d" % len(body),))) + body


def response(transport: str) -> bytes:
    return f"RTSP/1.0 200 OK\r\nCSeq: 4\r\nTransport: {transport}\r\nSession: 12;timeout=60\r\n\r\n".encode()


@given(st.lists(st.one_of(packets, responses()), max_size=6), st.data())
def test_messages_are_split_wherever_the_connection_cuts_them(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    splitter = MessageSplitter()

    assert [message for piece in pieces for message in splitter.add(piece)] == messages
    assert splitter.take_rest() == b""


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_splitting_keeps_every_byte(pieces: list[bytes]) -> None:
    splitter = MessageSplitter()

    messages = [message for piece in pieces for message in splitter.add(piece)]

    assert b"".join(messages) + splitter.take_rest() == b"".join(pieces)


def test_a_message_that_is_too_long_is_refused() -> None:
    splitter = MessageSplitter()
    splitter.add(b"RTSP/1.0 200 OK\r\nContent-Length: 9999999999\r\n\r\n")

    with pytest.raises(ValueError, match="256 KiB"):
        splitter.add(bytes(MAX_MESSAGE_NBYTES))


def test_a_setup_over_tcp_becomes_one_over_udp() -> None:
    assert rtsp_messages.requested_channels(SETUP) == (2, 3)
    assert rtsp_messages.with_udp_port(SETUP, 6000) == SETUP.replace(
        b"RTP/AVP/TCP;unicast;interleaved=2-3", b"RTP/AVP;unicast;client_port=6000-6001"
    )


@pytest.mark.parametrize(
    "other",
    [
        SETUP.replace(b"SETUP", b"PLAY"),
        SETUP.replace(b"2-3", b"256-257"),
        SETUP.replace(b"RTP/AVP/TCP", b"RTP/AVP"),
        b"$\0\0\0",
    ],
)
def test_other_messages_request_no_channels(other: bytes) -> None:
    assert rtsp_messages.requested_channels(other) is None


@given(
    head=heads(lines=(b"CSeq: 4", b"tRANSPORT:RTP/AVP;unicast;client_port=6000-6001;server_port=5000-5001")),
    channels=st.tuples(st.integers(0, 255), st.integers(0, 255)),
)
def test_only_transport_and_cseq_of_a_response_are_rewritten(head: bytes, channels: tuple[int, int]) -> None:
    rewritten = rtsp_messages.with_header(rtsp_messages.with_channels(head, channels), b"CSeq", b"3")

    changed = [(old, new) for old, new in zip(head.split(b"\r\n"), rewritten.split(b"\r\n"), strict=True) if old != new]
    transport = b"Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d" % channels
    assert sorted(new for _, new in changed) == [b"CSeq: 3", transport]
    assert rtsp_messages.status(rewritten) == 200


@pytest.mark.parametrize(
    ("transport", "ports"),
    [
        ("RTP/AVP;unicast;client_port=6000-6001;server_port=5000-5001;ssrc=AA;mode=\"PLAY\"", (5000, 5001)),
        ("RTP/AVP/UDP;unicast;source=10.0.0.5;client_port=6000-6001;server_port=5000-5001", (5000, 5001)),
        ("rtp/avp; unicast; Source=10.0.0.5; Server_Port=5000", (5000, 5001)),
        ("RTP/AVP;unicast;source=;server_port=6970-6999", (6970, 6999)),
        ("RTP/AVP;unicast;client_port=6000-6001", None),
        ("RTP/AVP;unicast;server_port=0-0", None),
        ("RTP/AVP;unicast;server_port=65535", None),
        ("RTP/AVP;unicast;server_port=x-y", None),
    ],
)  # fmt: skip
def test_a_response_names_the_ports_that_a_camera_sends_from(transport: str, ports: tuple[int, int] | None) -> None:
    assert rtsp_messages.server_ports(response(transport), CAMERA, label="lobby") == ports


@pytest.mark.parametrize(
    ("transport", "reason"),
    [
        ("RTP/AVP;multicast;destination=239.1.1.1;port=5000-5001;ttl=1", SourceReason.SERVER_ERROR),
        ("RTP/AVP/TCP;unicast;interleaved=0-1", SourceReason.SERVER_ERROR),
        ("RTP/SAVP;unicast;server_port=5000-5001", SourceReason.SERVER_ERROR),
        ("", SourceReason.SERVER_ERROR),
        ("RTP/AVP;unicast;source=10.0.0.6;server_port=5000-5001", SourceReason.ADDRESS_REFUSED),
        ("RTP/AVP;unicast;source=169.254.169.254;server_port=53-54", SourceReason.ADDRESS_REFUSED),
        ("RTP/AVP;unicast;source=elsewhere.example;server_port=5000-5001", SourceReason.ADDRESS_REFUSED),
    ],
)
def test_a_camera_with_another_transport_or_source_is_refused(transport: str, reason: SourceReason) -> None:
    with pytest.raises(SourceError, match=r"^lobby: ") as caught:
        rtsp_messages.server_ports(response(transport), CAMERA, label="lobby")

    assert caught.value.reason is reason


def test_an_address_may_have_any_notation() -> None:
    message = response("RTP/AVP;unicast;source=2001:0DB8:0::5;server_port=5000-5001")

    assert rtsp_messages.server_ports(message, "2001:db8::5", label="lobby") == (5000, 5001)


@given(st.binary(max_size=400))
def test_any_response_gives_ports_or_a_source_error(data: bytes) -> None:
    try:
        ports = rtsp_messages.server_ports(b"RTSP/1.0 200 OK\r\nTransport:" + data, CAMERA, label="lobby")
    except SourceError:
        return
    assert ports is None or all(0 < port < 1 << 16 for port in ports)
