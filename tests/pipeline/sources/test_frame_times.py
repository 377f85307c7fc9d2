"""A machine's wall clock may be set while cameras are watched: frames go on, and their times rise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_store.gap import GapReason
from pipeline.sources.clips import Clip
from pipeline.sources.frame_times import FrameTimes, RisingTimes
from tests.pipeline.playing import START_S
from tests.pipeline.sources.machine_clocks import Machine

HOUR_S = 3_600.0
PIXELS = np.zeros((1, 1, 1, 3), np.uint8)


class Camera:
    """Gives a frame each second. newest_s: of the frames that it gave before."""

    def __init__(self, machine: Machine, newest_s: float | None = None) -> None:
        self._machine = machine
        self.times = FrameTimes(machine.clock, newest_s)
        self.clips: list[Clip] = []

    def give(self, seconds: int) -> list[float]:
        """The Unix times of its next frames, in seconds since START_S."""
        for _ in range(seconds):
            self._machine.boot_s += 1
            now_s = self._machine.clock()
            self.clips.append(self.times.date(Clip("lobby", PIXELS, (now_s,), (PIXELS[0],), now_s)))
        return [clip.times_s[0] - START_S for clip in self.clips[-seconds:]]

    @property
    def lost_before(self) -> list[str]:
        return [reason for clip in self.clips for reason in clip.lost_before]


def test_a_wall_clock_that_nobody_sets_gives_its_times() -> None:
    camera = Camera(Machine())

    assert camera.give(4) == [1, 2, 3, 4]
    assert camera.times.note == ""
    assert camera.clips[-1].received_s == START_S + 4


@pytest.mark.parametrize("back_s", [5.0, HOUR_S])
def test_frames_whose_times_come_again_follow_the_newest_one_closely_until_the_clock_has_passed_it(
    back_s: float,
) -> None:
    machine = Machine()
    camera = Camera(machine)
    camera.give(10)
    machine.set_clock(-back_s)

    repeated = camera.give(int(back_s))

    assert repeated == pytest.approx([10 + 0.01 * number for number in range(1, int(back_s) + 1)], abs=1e-3)
    assert camera.clips[-1].received_s == START_S + 10
    later = camera.give(int(0.011 * back_s) + 2)
    assert later[-1] == machine.wall_s - START_S
    assert camera.times.note == ""
    assert camera.lost_before == []


def test_an_operator_reads_at_which_time_the_frames_stand() -> None:
    machine = Machine()
    camera = Camera(machine)
    camera.give(10)
    machine.set_clock(-HOUR_S)
    camera.give(1)

    assert camera.times.note == (
        "the clock was set back: the times of its frames stand at 2023-11-14 22:13 UTC until the clock has passed that"
    )


def test_a_clock_that_is_set_forward_is_followed_at_once_and_the_gap_has_its_reason() -> None:
    machine = Machine()
    camera = Camera(machine)
    camera.give(2)
    machine.set_clock(HOUR_S)

    assert camera.give(2) == [HOUR_S + 3, HOUR_S + 4]
    assert camera.lost_before == [GapReason.CLOCK_SET]


def test_a_clock_that_is_set_back_and_forward_again_leaves_a_gap_of_the_time_in_between() -> None:
    machine = Machine()
    camera = Camera(machine)
    camera.give(10)
    machine.set_clock(-HOUR_S)
    camera.give(60)
    machine.set_clock(HOUR_S)

    assert camera.give(1) == [71]
    assert camera.lost_before == [GapReason.CLOCK_SET]


def test_frames_of_which_the_times_come_again_say_so() -> None:
    """Of these the times do not show how much is missing between two of them."""
    machine = Machine()
    camera = Camera(machine)
    camera.give(2)
    machine.set_clock(-5.0)
    camera.give(5)
    machine.set_clock(HOUR_S)
    camera.give(1)

    assert [clip.has_repeated_times for clip in camera.clips] == [False] * 2 + [True] * 5 + [False]


def test_a_clip_whose_times_came_again_where_it_was_made_says_so_wherever_it_is_dated_anew() -> None:
    clip = Clip("lobby", PIXELS, (START_S,), (PIXELS[0],), START_S, has_repeated_times=True)

    assert RisingTimes(START_S - 1).date(clip) == clip


def test_a_clock_that_is_set_forward_to_a_time_that_was_before_leaves_no_gap() -> None:
    machine = Machine()
    camera = Camera(machine)
    camera.give(2)
    machine.set_clock(-HOUR_S)
    camera.give(2)
    machine.set_clock(HOUR_S / 2)
    camera.give(2)

    assert camera.lost_before == []


def test_small_steps_are_followed_without_a_word() -> None:
    machine = Machine()
    camera = Camera(machine)
    for number in range(50):
        machine.set_clock(0.3 if number % 2 else -0.3)
        camera.give(1)
        assert camera.clips[-1].times_s[0] == pytest.approx(machine.wall_s, abs=1e-3)
        assert camera.times.note == ""

    assert camera.lost_before == []


def test_a_suspended_machine_leaves_a_gap_like_any_other() -> None:
    """The clock of its boot goes on meanwhile, as the wall clock does."""
    machine = Machine()
    camera = Camera(machine)
    camera.give(2)
    machine.boot_s += HOUR_S

    assert camera.give(1) == [HOUR_S + 3]
    assert camera.lost_before == []


def test_a_virtual_machine_whose_clocks_stood_still_follows_its_wall_clock_once_that_is_right() -> None:
    machine = Machine()
    camera = Camera(machine)
    camera.give(2)  # then it is paused for an hour, and a time server sets its clock after that
    machine.set_clock(HOUR_S)

    assert camera.give(1) == [HOUR_S + 3]


def test_a_live_camera_that_is_opened_anew_goes_on_behind_a_time_that_has_not_come() -> None:
    """As after a restart of its worker while the clock is an hour back."""
    machine = Machine()
    camera = Camera(machine, START_S + HOUR_S)

    times_s = camera.give(3)
    assert all(later > earlier for earlier, later in pairwise([HOUR_S, *times_s]))
    assert times_s[-1] < HOUR_S + 0.1
    assert "the clock was set back" in camera.times.note


def test_a_recording_that_is_played_keeps_its_times_whatever_the_clock_is_set_to() -> None:
    machine = Machine()
    camera = Camera(machine)
    camera.times.keep_correction(machine.clock.correction_s())
    camera.give(2)
    machine.set_clock(-HOUR_S)
    back = camera.give(2)
    machine.set_clock(2 * HOUR_S)

    assert back + camera.give(2) == [3, 4, 5, 6]
    assert camera.lost_before == []


@given(steps=st.lists(st.tuples(st.floats(-4000, 4000), st.integers(1, 5)), max_size=20))
def test_times_always_rise_and_are_never_behind_the_clock(steps: list[tuple[float, int]]) -> None:
    machine = Machine()
    camera = Camera(machine)
    for by_s, seconds in steps:
        machine.set_clock(by_s)
        camera.give(seconds)
        assert camera.clips[-1].times_s[0] >= machine.wall_s - 2e-3

    times_s = [clip.times_s[0] for clip in camera.clips]
    assert all(later > earlier for earlier, later in pairwise(times_s))
