"""Frames are picked by time: evenly, at any frame rate, however the stream is cut."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.sampling import (
    FIRST_CALM_S,
    LAST_CALM_S,
    MAX_DEVICE_STRIDE,
    MAX_STRIDE,
    SETTLE_S,
    EvenRate,
    Sampler,
)

TIMES = st.lists(st.floats(0.001, 2.0), min_size=1, max_size=200).map(
    lambda steps: [sum(steps[: index + 1]) for index in range(len(steps))]
)


@pytest.mark.parametrize("fps", [2, 5, 10, 25, 30, 60])
def test_a_steady_stream_gives_two_frames_a_second(fps: int) -> None:
    times_s = [index / fps for index in range(10 * fps)]

    picked = [times_s[index] for index in Sampler(2).pick(times_s)]

    assert len(picked) == 20
    assert all(0 <= time_s - index / 2 < 1 / fps for index, time_s in enumerate(picked))


def test_a_slow_stream_gives_every_frame() -> None:
    assert Sampler(2).pick([0, 1, 2, 3.1, 4.2]) == [0, 1, 2, 3, 4]


@given(times_s=TIMES, fps=st.floats(0.1, 30))
def test_picks_are_never_closer_than_half_a_period(times_s: list[float], fps: float) -> None:
    picked = [times_s[index] for index in Sampler(fps).pick(times_s)]

    assert picked[0] == times_s[0]
    assert all(later - earlier > 0.5 / fps for earlier, later in pairwise(picked))


@given(times_s=TIMES, fps=st.floats(0.1, 30))
def test_no_two_periods_pass_without_a_pick_if_there_are_frames(times_s: list[float], fps: float) -> None:
    picked = {times_s[index] for index in Sampler(fps).pick(times_s)}

    for earlier, later in pairwise([*sorted(picked), math.inf]):
        between = [time_s for time_s in times_s if earlier < time_s < later]
        assert all(time_s - earlier < 2 / fps for time_s in between)


@given(times_s=TIMES, cuts=st.lists(st.integers(0, 200), max_size=5))
def test_cutting_a_stream_does_not_change_the_picks(times_s: list[float], cuts: list[int]) -> None:
    """Each segment repeats the one before, as those of a long group do."""
    whole, pieces = Sampler(2), Sampler(2)

    expected = [times_s[index] for index in whole.pick(times_s)]
    picked = []
    for end in sorted({*(min(cut, len(times_s)) for cut in cuts), len(times_s)}):
        picked += [times_s[index] for index in pieces.pick(times_s[:end])]

    assert picked == expected


@pytest.mark.parametrize("stride", [1, 2, 3, 8])
def test_a_machine_that_cannot_keep_up_takes_evenly_spaced_frames(stride: int) -> None:
    times_s = [index / 20 for index in range(1_000)]

    picked = [times_s[index] for index in Sampler(2).pick(times_s, stride)]

    assert {round(later - earlier, 2) for earlier, later in pairwise(picked)} == {stride / 2}


def test_the_rate_falls_step_by_step_while_frames_are_lost_down_to_a_limit() -> None:
    rate, strides = EvenRate(), []
    for second in range(200):
        rate.lost(float(second))
        strides.append(rate.at(float(second)))

    assert strides[0] == 2
    assert strides[int(SETTLE_S) - 1] == 2
    assert strides[int(SETTLE_S)] == 3
    assert strides[-1] == MAX_STRIDE
    assert strides == sorted(strides)


def test_a_higher_rate_is_tried_after_a_calm_time_and_later_each_time_that_it_fails() -> None:
    rate, now_s = EvenRate(), 0.0
    calm_s = []
    rate.lost(now_s)
    for _ in range(3):
        began_s = now_s
        while rate.at(now_s) == 2:
            now_s += 1
        calm_s.append(now_s - began_s)
        now_s += SETTLE_S
        rate.lost(now_s)

    assert calm_s == [FIRST_CALM_S, 2 * FIRST_CALM_S, 4 * FIRST_CALM_S]


def test_a_rate_that_is_below_what_was_asked_is_said() -> None:
    rate = EvenRate()
    assert rate.described("over UDP", 2.0) == "over UDP"
    rate.lost(0.0)
    assert rate.described("", 2.0) == "sampled at 1 frames/s of 2: the machine does not keep up"
    assert rate.described("over UDP", 2.0).startswith("over UDP; sampled at")


@pytest.mark.parametrize("stride", [1.1, 1.5, 2.4, 7.3])
@pytest.mark.parametrize("fps", [2, 3, 20])
def test_a_rate_between_two_whole_strides_is_met_on_average(stride: float, fps: int) -> None:
    """Also of a camera that gives hardly more frames than are sampled: then some steps are one frame longer."""
    times_s = [index / fps for index in range(100 * fps)]

    picked = [times_s[index] for index in Sampler(2).pick(times_s, stride)]

    assert len(picked) == pytest.approx(200 / stride, rel=0.06)
    assert all(later - earlier <= (math.ceil(stride * fps / 2) + 1) / fps for earlier, later in pairwise(picked))


def test_the_device_and_the_machine_lower_a_rate_by_the_more_of_the_two() -> None:
    """They would take a third of a half, if both of them are too slow by a half."""
    rate = EvenRate()
    rate.limit(0.5)
    assert rate.at(0.0) == 2
    assert rate.described("", 2.0) == "sampled at 1 frames/s of 2: the device has no time for more"

    rate.lost(0.0)
    assert rate.at(0.0) == 3
    assert rate.described("", 3.0) == "sampled at 1 frames/s of 3: the machine does not keep up"

    rate.limit(0.1)
    assert rate.at(FIRST_CALM_S) == 10
    rate.limit(1.0)
    assert rate.at(2 * FIRST_CALM_S) == 1


def test_a_device_without_time_still_takes_a_frame_now_and_then() -> None:
    rate = EvenRate()
    rate.limit(1e-6)

    assert rate.stride == MAX_DEVICE_STRIDE


def test_the_stronger_reason_for_a_lower_rate_is_named() -> None:
    rate = EvenRate()
    rate.lost(0.0)
    rate.limit(0.25)

    assert rate.described("", 1.0) == "sampled at 0.25 frames/s of 1: the device has no time for more"


def test_a_higher_rate_is_tried_again_however_often_that_failed() -> None:
    rate, now_s = EvenRate(), 0.0
    for _ in range(10):
        rate.lost(now_s)
        now_s += LAST_CALM_S
        assert rate.at(now_s) == 1
        now_s += SETTLE_S
