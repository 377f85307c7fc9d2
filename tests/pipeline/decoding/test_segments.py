"""Packets become segments that start at key frames, are bounded, and lose no frame without counting it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.segments import GopSplitter, Packet, Segment


def packets(pattern: str, step_s: float = 0.1, nbytes: int = 100) -> list[Packet]:
    """One packet per letter, in decode order: K key frame, P other frame, H hidden frame."""
    return [
        Packet(number * step_s, number * step_s, kind == "K", nbytes, number, kind != "H")
        for number, kind in enumerate(pattern)
    ]


def split(splitter: GopSplitter, stream: list[Packet]) -> list[str]:
    """The segments, each as the numbers of its packets."""
    segments = [*map(splitter.add, stream), splitter.flush()]
    return [numbers(segment) for segment in segments if segment is not None]


def numbers(segment: Segment) -> str:
    return " ".join(str(packet.body) for packet in segment.packets)


def test_each_gop_is_a_segment() -> None:
    assert split(GopSplitter(1, 30, 1 << 20), packets("KPPKPPK")) == ["0 1 2", "3 4 5", "6"]


def test_a_long_gop_gives_several_segments_each_from_its_key_frame_on() -> None:
    assert split(GopSplitter(0.2, 30, 1 << 20), packets("KPPPPP")) == ["0 1 2", "0 1 2 3 4", "0 1 2 3 4 5"]


def test_a_gop_that_was_emitted_whole_is_not_emitted_again() -> None:
    assert split(GopSplitter(0.2, 30, 1 << 20), packets("KPPKPP")) == ["0 1 2", "3 4 5"]


def test_key_frames_of_an_intra_stream_are_emitted_at_once() -> None:
    splitter = GopSplitter(1, 30, 1 << 20, is_intra=True)

    assert [numbers(segment) for segment in map(splitter.add, packets("KKK")) if segment] == ["0", "1", "2"]


def test_frames_before_the_first_key_frame_are_counted_as_missing() -> None:
    splitter = GopSplitter(1, 30, 1 << 20)

    assert split(splitter, packets("PPKP")) == ["2 3"]
    assert splitter.missing == 2


def test_frames_that_need_the_gop_before_are_left_out() -> None:
    key, after = packets("KP")
    leading = Packet(pts_s=-0.05, dts_s=0.05, is_key=False, nbytes=100, body="leading")
    splitter = GopSplitter(1, 30, 1 << 20)

    assert split(splitter, [key, leading, after]) == ["0 1"]
    assert splitter.missing == 1


def test_a_gop_is_limited_in_time_and_bytes() -> None:
    by_time, by_bytes = GopSplitter(9, 0.35, 1 << 20), GopSplitter(9, 30, 10_000)

    assert split(by_time, packets("KPPPPPPKP")) == ["0 1 2 3", "7 8"]
    assert split(by_bytes, packets("KPPPPPPKP", nbytes=1500)) == ["0 1 2", "7 8"]
    assert (by_time.missing, by_bytes.missing) == (3, 4)


def test_times_are_the_presentation_times_of_visible_frames_in_order() -> None:
    stream = [
        Packet(0.0, 0.0, True, 100, 0),
        Packet(0.3, 0.1, False, 100, 1),
        Packet(0.1, 0.2, False, 100, 2),
        Packet(0.25, 0.25, False, 100, 3, is_visible=False),
        Packet(0.2, 0.3, False, 100, 4),
    ]
    splitter = GopSplitter(1, 30, 1 << 20)
    for packet in stream:
        splitter.add(packet)

    segment = splitter.flush()

    assert segment is not None
    assert segment.times_s == (0.0, 0.1, 0.2, 0.3)


def key_splitter() -> GopSplitter:
    return GopSplitter(9, 30, 1 << 20, max_key_gap_s=0.35)


def test_frequent_key_frames_are_emitted_alone() -> None:
    assert split(key_splitter(), packets("KPPKPPKPPKPPKPP")) == ["0 1 2", "3 4 5", "6", "9", "12"]


def test_a_key_frame_that_is_emitted_alone_does_not_wait_for_its_gop() -> None:
    splitter = key_splitter()
    for packet in packets("KPPKPPKPP"):
        splitter.add(packet)

    segment = splitter.add(Packet(0.9, 0.9, True, 100, "now"))

    assert segment is not None
    assert numbers(segment) == "now"
    assert segment.times_s == (0.9,)


def test_a_late_key_frame_makes_its_gop_be_emitted_whole() -> None:
    """Key frames are emitted alone again only after several were on time."""
    segments = split(key_splitter(), packets("KPPKPPKPP" + "KPPPPPPP" + "KPPKPPKPP"))

    assert segments == ["0 1 2", "3 4 5", "6", "9", "9 10 11 12 13 14 15 16", "17 18 19", "20 21 22", "23"]


def test_rare_key_frames_are_never_emitted_alone() -> None:
    assert split(key_splitter(), packets("KPPP" * 4)) == ["0 1 2 3", "4 5 6 7", "8 9 10 11", "12 13 14 15"]


def test_once_the_key_gap_is_zero_gops_are_emitted_whole_at_once() -> None:
    splitter = key_splitter()
    stream = packets("KPPKPPKPPKPPKPP")
    early = [splitter.add(packet) for packet in stream[:10]]

    splitter.max_key_gap_s = 0

    late = [*map(splitter.add, stream[10:]), splitter.flush()]
    assert [numbers(segment) for segment in early if segment] == ["0 1 2", "3 4 5", "6", "9"]
    assert [numbers(segment) for segment in late if segment] == ["9 10 11", "12 13 14"]


@given(st.text("KPPP", max_size=60), st.floats(0.05, 1), st.floats(0.05, 1))
def test_no_time_is_further_from_an_emitted_frame_than_the_key_gap(
    pattern: str, segment_s: float, within_s: float
) -> None:
    splitter = GopSplitter(segment_s, 30, 1 << 20, max_key_gap_s=within_s)
    stream = packets(pattern)
    emitted = {number for segment in split(splitter, stream) for number in segment.split()}
    emitted_s = [packet.pts_s for packet in stream if str(packet.body) in emitted]

    for packet in stream[pattern.find("K") :] if "K" in pattern else []:
        assert any(packet.pts_s - within_s - 1e-9 <= time_s <= packet.pts_s for time_s in emitted_s)


@given(st.text("KPPP", max_size=60), st.floats(0.05, 3))
def test_every_packet_is_emitted_or_counted_as_missing(pattern: str, segment_s: float) -> None:
    splitter = GopSplitter(segment_s, 30, 1 << 20)
    stream = packets(pattern)

    emitted = {number for segment in split(splitter, stream) for number in segment.split()}

    assert len(emitted) + splitter.missing == len(stream)
