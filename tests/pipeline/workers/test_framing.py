"""Messages of every kind are cut out of what arrives, however it is split or damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.workers import clip_messages, framing, messages
from pipeline.workers.errors import MalformedMessage
from pipeline.workers.framing import FrameReader
from pipeline.workers.messages import MAX_BODY_NBYTES, MAX_HEADER_NBYTES, Alive
from tests.pipeline.workers.test_messages import CLIP
from tests.pipeline.workers.test_segment_messages import FILE, SEGMENT

CLIP_HEADER, CLIP_BODY = clip_messages.clip_header(3, CLIP, can_wait=True), clip_messages.clip_body(CLIP)
SENT = {
    "clip": framing.frame(messages.encode(CLIP_HEADER), *CLIP_BODY),
    "segment": framing.frame(messages.encode(SEGMENT), FILE),
    "alive": framing.frame(messages.encode(Alive())),
}


def reader() -> FrameReader:
    return FrameReader(MAX_HEADER_NBYTES, MAX_BODY_NBYTES)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_messages_arrive_whole_however_they_are_split(size: int) -> None:
    sent, read = b"".join(SENT.values()), reader()

    received = [message for at in range(0, len(sent), size) for message in read.feed(sent[at : at + size])]

    assert [messages.parse_report(header, body) for header, body in received] == [CLIP_HEADER, SEGMENT, Alive()]
    assert [bytes(body) for _, body in received] == [b"".join(CLIP_BODY), FILE, b""]


@pytest.mark.parametrize("kind", SENT)
@settings(max_examples=200)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_stream_gives_messages_or_is_refused(kind: str, flips: list[tuple[int, int]]) -> None:
    sent = bytearray(SENT[kind])
    for at, value in flips:
        sent[at % len(sent)] = value

    try:
        for header, body in reader().feed(bytes(sent)):
            messages.parse_report(header, body)
    except MalformedMessage:
        pass


@pytest.mark.parametrize(
    ("header", "body"), [(MAX_HEADER_NBYTES + 1, 0), (0, MAX_BODY_NBYTES + 1), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_a_message_beyond_its_limit_is_refused_before_it_comes(header: int, body: int) -> None:
    with pytest.raises(MalformedMessage, match=f"{header} and {body} bytes"):
        list(reader().feed(header.to_bytes(4) + body.to_bytes(4)))
