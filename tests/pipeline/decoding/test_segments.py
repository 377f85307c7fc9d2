"""Packets become segments that start at key frames, lose nothing unseen and stay bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.segments import GopSplitter, Packet, Segment


def packets(pattern: str, step_s: float = 0.1, nbytes: int = 100) -> list[Packet]:
    """A letter for each packet in decode order: K key, P, and H hidden."""
    return [
        Packet(place * step_s, place * step_s, kind == "K", nbytes, place, kind != "H")
        for place, kind in enumerate(pattern)
    ]


def cut(cutter: GopSplitter, stream: list[Packet]) -> list[str]:
    """The segments as strings of their packets' places."""
    found = [*map(cutter.add, stream), cutter.flush()]
    return [places(segment) for segment in found if segment is not None]


def places(segment: Segment) -> str:
    return " ".join(str(packet.body) for packet in segment.packets)


def test_each_group_is_a_segment() -> None:
    assert cut(GopSplitter(1, 30, 1 << 20), packets("KPPKPPK")) == ["0 1 2", "3 4 5", "6"]


def test_a_long_group_is_cut_and_starts_at_its_key_frame_again() -> None:
    assert cut(GopSplitter(0.2, 30, 1 << 20), packets("KPPPPP")) == ["0 1 2", "0 1 2 3 4", "0 1 2 3 4 5"]


def test_a_group_that_was_given_whole_is_not_given_again() -> None:
    assert cut(GopSplitter(0.2, 30, 1 << 20), packets("KPPKPP")) == ["0 1 2", "3 4 5"]


def test_streams_of_key_frames_are_given_at_once() -> None:
    cutter = GopSplitter(1, 30, 1 << 20, is_intra=True)

    assert [places(segment) for segment in map(cutter.add, packets("KKK")) if segment] == ["0", "1", "2"]


def test_what_comes_before_the_first_key_frame_is_counted() -> None:
    cutter = GopSplitter(1, 30, 1 << 20)

    assert cut(cutter, packets("PPKP")) == ["2 3"]
    assert cutter.missing == 2


def test_pictures_that_lean_on_the_group_before_are_left_out() -> None:
    key, after = packets("KP")
    leading = Packet(pts_s=-0.05, dts_s=0.05, is_key=False, nbytes=100, body="leading")
    cutter = GopSplitter(1, 30, 1 << 20)

    assert cut(cutter, [key, leading, after]) == ["0 1"]
    assert cutter.missing == 1


def test_a_group_stays_within_its_limits_of_time_and_bytes() -> None:
    by_time, by_bytes = GopSplitter(9, 0.35, 1 << 20), GopSplitter(9, 30, 10_000)

    assert cut(by_time, packets("KPPPPPPKP")) == ["0 1 2 3", "7 8"]
    assert cut(by_bytes, packets("KPPPPPPKP", nbytes=1500)) == ["0 1 2", "7 8"]
    assert (by_time.missing, by_bytes.missing) == (3, 4)


def test_times_are_those_of_visible_pictures_in_the_order_of_showing() -> None:
    stream = [
        Packet(0.0, 0.0, True, 100, 0),
        Packet(0.3, 0.1, False, 100, 1),
        Packet(0.1, 0.2, False, 100, 2),
        Packet(0.25, 0.25, False, 100, 3, is_visible=False),
        Packet(0.2, 0.3, False, 100, 4),
    ]
    cutter = GopSplitter(1, 30, 1 << 20)
    for packet in stream:
        cutter.add(packet)

    segment = cutter.flush()

    assert segment is not None
    assert segment.times_s == (0.0, 0.1, 0.2, 0.3)


def keys_only() -> GopSplitter:
    return GopSplitter(9, 30, 1 << 20, max_key_gap_s=0.35)


def test_key_frames_that_come_often_enough_are_given_alone_once_that_is_known() -> None:
    assert cut(keys_only(), packets("KPPKPPKPPKPPKPP")) == ["0 1 2", "3 4 5", "6", "9", "12"]


def test_a_key_frame_given_alone_does_not_wait_for_its_group() -> None:
    cutter = keys_only()
    for packet in packets("KPPKPPKPP"):
        cutter.add(packet)

    segment = cutter.add(Packet(0.9, 0.9, True, 100, "now"))

    assert segment is not None
    assert places(segment) == "now"
    assert segment.times_s == (0.9,)


def test_when_a_key_frame_is_late_its_group_is_given_whole_and_nothing_is_lost() -> None:
    """One late key frame is enough; the next ones must be on time again before they are trusted."""
    found = cut(keys_only(), packets("KPPKPPKPP" + "KPPPPPPP" + "KPPKPPKPP"))

    assert found == ["0 1 2", "3 4 5", "6", "9", "9 10 11 12 13 14 15 16", "17 18 19", "20 21 22", "23"]


def test_key_frames_that_come_too_rarely_are_never_given_alone() -> None:
    assert cut(keys_only(), packets("KPPP" * 4)) == ["0 1 2 3", "4 5 6 7", "8 9 10 11", "12 13 14 15"]


def test_key_frames_found_not_to_decode_alone_are_given_with_their_groups_at_once() -> None:
    cutter = keys_only()
    stream = packets("KPPKPPKPPKPPKPP")
    early = [cutter.add(packet) for packet in stream[:10]]

    cutter.max_key_gap_s = 0

    late = [*map(cutter.add, stream[10:]), cutter.flush()]
    assert [places(segment) for segment in early if segment] == ["0 1 2", "3 4 5", "6", "9"]
    assert [places(segment) for segment in late if segment] == ["9 10 11", "12 13 14"]


@given(st.text("KPPP", max_size=60), st.floats(0.05, 1), st.floats(0.05, 1))
def test_no_moment_is_further_from_a_given_picture_than_key_frames_may_be(
    pattern: str, segment_s: float, within_s: float
) -> None:
    cutter = GopSplitter(segment_s, 30, 1 << 20, max_key_gap_s=within_s)
    stream = packets(pattern)
    places_given = {place for segment in cut(cutter, stream) for place in segment.split()}
    given_s = [packet.pts_s for packet in stream if str(packet.body) in places_given]

    for packet in stream[pattern.find("K") :] if "K" in pattern else []:
        assert any(packet.pts_s - within_s - 1e-9 <= time_s <= packet.pts_s for time_s in given_s)


@given(st.text("KPPP", max_size=60), st.floats(0.05, 3))
def test_every_packet_is_given_or_counted(pattern: str, segment_s: float) -> None:
    cutter = GopSplitter(segment_s, 30, 1 << 20)
    stream = packets(pattern)

    given_places = {place for segment in cut(cutter, stream) for place in segment.split()}

    assert len(given_places) + cutter.missing == len(stream)
