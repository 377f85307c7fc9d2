"""What libav asks and a camera answers reads, once rewritten, as the other would have written it."""

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
def heads(draw: st.DrawFn, first: bytes = b"RTSP/1.0 200 OK", known: tuple[bytes, ...] = ()) -> bytes:
    """A head with known and foreign lines in any order."""
    foreign = [b"%s: %s" % pair for pair in draw(st.lists(st.tuples(names, values), max_size=4))]
    return b"\r\n".join((first, *draw(st.permutations([*known, *foreign])), b"", b""))


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    body = draw(bodies)
    return draw(heads(known=(b"Content-length: %d" % len(body),))) + body


def answer(transport: str) -> bytes:
    return f"RTSP/1.0 200 OK\r\nCSeq: 4\r\nTransport: {transport}\r\nSession: 12;timeout=60\r\n\r\n".encode()


@given(st.lists(st.one_of(packets, answers()), max_size=6), st.data())
def test_a_connection_is_cut_into_its_messages_wherever_it_comes_in_pieces(
    said: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(said)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    messages = MessageSplitter()

    assert [one for piece in pieces for one in messages.add(piece)] == said
    assert messages.take_rest() == b""


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_cutting_adds_and_loses_nothing(pieces: list[bytes]) -> None:
    messages = MessageSplitter()

    cut = [one for piece in pieces for one in messages.add(piece)]

    assert b"".join(cut) + messages.take_rest() == b"".join(pieces)


def test_a_message_is_not_waited_for_without_end() -> None:
    messages = MessageSplitter()
    messages.add(b"RTSP/1.0 200 OK\r\nContent-Length: 9999999999\r\n\r\n")

    with pytest.raises(ValueError, match="256 KiB"):
        messages.add(bytes(MAX_MESSAGE_NBYTES))


def test_a_setup_for_channels_becomes_one_for_ports() -> None:
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
def test_nothing_else_asks_for_channels(other: bytes) -> None:
    assert rtsp_messages.requested_channels(other) is None


@given(
    head=heads(known=(b"CSeq: 4", b"tRANSPORT:RTP/AVP;unicast;client_port=6000-6001;server_port=5000-5001")),
    channels=st.tuples(st.integers(0, 255), st.integers(0, 255)),
)
def test_of_an_answer_the_transport_and_the_number_alone_are_rewritten(head: bytes, channels: tuple[int, int]) -> None:
    rewritten = rtsp_messages.renumber(rtsp_messages.with_channels(head, channels), -1)

    changed = [(old, new) for old, new in zip(head.split(b"\r\n"), rewritten.split(b"\r\n"), strict=True) if old != new]
    given_ = b"tRANSPORT: RTP/AVP/TCP;unicast;interleaved=%d-%d" % channels
    assert sorted(new for _, new in changed) == [b"CSeq: 3", given_]
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
def test_the_ports_that_a_camera_sends_from(transport: str, ports: tuple[int, int] | None) -> None:
    assert rtsp_messages.server_ports(answer(transport), CAMERA, label="lobby") == ports


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
def test_a_camera_that_would_send_otherwise_is_refused(transport: str, reason: SourceReason) -> None:
    with pytest.raises(SourceError, match=r"^lobby: ") as caught:
        rtsp_messages.server_ports(answer(transport), CAMERA, label="lobby")

    assert caught.value.reason is reason


def test_an_address_is_the_same_however_it_is_written() -> None:
    there = answer("RTP/AVP;unicast;source=2001:0DB8:0::5;server_port=5000-5001")

    assert rtsp_messages.server_ports(there, "2001:db8::5", label="lobby") == (5000, 5001)


@given(st.binary(max_size=400))
def test_no_answer_makes_anything_but_a_source_error(data: bytes) -> None:
    try:
        ports = rtsp_messages.server_ports(b"RTSP/1.0 200 OK\r\nTransport:" + data, CAMERA, label="lobby")
    except SourceError:
        return
    assert ports is None or all(0 < port < 1 << 16 for port in ports)
