"""Timestamps are repaired whatever a file contains; frames keep their times whatever the network does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.timestamps import FileTimeline, LiveTimeline, PacketClock

FRAME_S = 0.04
RAW = st.one_of(st.none(), st.floats(-1e6, 1e6))


def stamps(raw: list[tuple[float | None, float | None]]) -> list[tuple[float, float]]:
    clock = PacketClock(FRAME_S)
    found = [clock.stamp(pts, dts) for pts, dts in raw]
    return [(round(stamp.pts_s, 6), round(stamp.dts_s, 6)) for stamp in found]


def test_valid_timestamps_are_not_changed() -> None:
    raw = [(0.08, 0.0), (0.2, 0.04), (0.12, 0.08), (0.16, 0.12)]

    assert stamps(list(raw)) == raw


def test_missing_timestamps_become_one_frame_each() -> None:
    assert stamps([(None, None)] * 3) == [(0, 0), (0.04, 0.04), (0.08, 0.08)]


def test_timestamps_that_are_all_zero_become_one_frame_each() -> None:
    assert stamps([(0.0, 0.0)] * 3) == [(0, 0), (0.04, 0.04), (0.08, 0.08)]


@pytest.mark.parametrize("jump_s", [-500.0, -2.0, 100.0, 1e6])
def test_after_a_jump_of_the_clock_the_stream_continues_where_it_was(jump_s: float) -> None:
    raw = [(at + (jump_s if at > 0.1 else 0), at + (jump_s if at > 0.1 else 0)) for at in (0, 0.04, 0.08, 0.12, 0.16)]

    assert [pts_s for pts_s, _ in stamps(list(raw))] == [0, 0.04, 0.08, 0.12, 0.16]


def test_a_pause_of_seconds_is_kept() -> None:
    assert stamps([(0.0, 0.0), (12.0, 12.0)])[1] == (12, 12)


@given(st.lists(st.tuples(RAW, RAW), min_size=1, max_size=50))
def test_decode_times_never_run_back(raw: list[tuple[float | None, float | None]]) -> None:
    clock = PacketClock(FRAME_S)

    decoded = [clock.stamp(pts, dts).dts_s for pts, dts in raw]

    assert all(earlier <= later <= earlier + 31 for earlier, later in pairwise(decoded))


def test_a_recording_begins_at_its_start_time() -> None:
    timeline = FileTimeline(1000)
    timeline.add(7.0, arrived_s=0)
    timeline.add(8.0, arrived_s=0)

    assert (timeline.unix(7.0), timeline.unix(8.5)) == (1000, 1001.5)


def test_a_burst_at_the_start_does_not_make_frames_late() -> None:
    """A backlog of ten seconds arrives at once: the newest frame is of now, the others are older."""
    timeline = LiveTimeline()
    for pts_s in range(11):
        timeline.add(float(pts_s), arrived_s=5000.0)

    assert (timeline.unix(10.0), timeline.unix(0.0)) == (5000, 4990)


@given(delays=st.lists(st.floats(0, 0.8), min_size=50, max_size=200))
def test_network_delays_do_not_move_the_frames(delays: list[float]) -> None:
    timeline = LiveTimeline()
    for index, delay_s in enumerate([0.0, *delays]):
        timeline.add(index / 10, arrived_s=5000 + index / 10 + delay_s)

        assert timeline.unix(index / 10) == pytest.approx(5000 + index / 10, abs=0.03)


@pytest.mark.parametrize("rate", [0.9995, 1.0005, 1.01])
def test_a_camera_clock_that_runs_slow_or_fast_is_followed(rate: float) -> None:
    timeline = LiveTimeline()
    for second in range(3600):
        timeline.add(second * rate, arrived_s=5000.0 + second)

    assert timeline.unix(3599 * rate) == pytest.approx(5000 + 3599, abs=0.1)
