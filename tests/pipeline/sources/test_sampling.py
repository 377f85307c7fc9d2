"""Frames are picked by time: evenly, at any frame rate, however the stream is cut."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.sampling import Sampler

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
