"""A machine's wall clock may be set while cameras are watched: frames go on, and their times rise."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_store.gap import GapReason
from pipeline.cameras import CameraSpec, PlaybackSpeed
from pipeline.sources.clips import Clip
from pipeline.sources.frame_clock import FrameTimes, SteadyClock
from tests.pipeline.playing import START_S

HOUR_S = 3_600.0
PIXELS = np.zeros((1, 1, 1, 3), np.uint8)


class Machine:
    """A machine's clocks: of its boot, which goes on, and of the wall, which is set."""

    def __init__(self) -> None:
        self.boot_s, self.wall_offset_s = 77.0, START_S - 77.0
        self.clock = SteadyClock(wall=lambda: self.wall_s, boot=lambda: self.boot_s)

    @property
    def wall_s(self) -> float:
        return self.boot_s + self.wall_offset_s

    def set_clock(self, by_s: float) -> None:
        self.wall_offset_s += by_s


class Camera:
    """Gives a frame each second. newest_s: of the frames that it gave before."""

    def __init__(self, machine: Machine, newest_s: float | None = None, *, is_recording: bool = False) -> None:
        self._machine = machine
        self.times = FrameTimes(machine.clock, newest_s, can_wait=is_recording)
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

    assert camera.times.steady_s(START_S + HOUR_S, 0.0) == START_S
    times_s = camera.give(3)
    assert all(later > earlier for earlier, later in pairwise([HOUR_S, *times_s]))
    assert times_s[-1] < HOUR_S + 0.1
    assert "the clock was set back" in camera.times.note


def test_a_recording_that_is_opened_anew_goes_on_where_it_was() -> None:
    assert Camera(Machine(), is_recording=True).times.steady_s(START_S + HOUR_S, 0.0) == START_S + HOUR_S


def test_a_recording_that_is_played_keeps_its_times_whatever_the_clock_is_set_to() -> None:
    machine = Machine()
    camera = Camera(machine, is_recording=True)
    camera.times.keep_correction(machine.clock.correction_s())
    camera.give(2)
    machine.set_clock(-HOUR_S)
    back = camera.give(2)
    machine.set_clock(2 * HOUR_S)

    assert back + camera.give(2) == [3, 4, 5, 6]
    assert camera.lost_before == []


class Waiting:
    """What waits on a machine: its seconds pass as they are waited for. sets_clock: what happens behind the first."""

    def __init__(self, machine: Machine, sets_clock_s: float = 0.0) -> None:
        self._machine, self._sets_clock_s = machine, sets_clock_s
        self.waits: list[float] = []
        self.notes: list[str] = []

    def __call__(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self._machine.boot_s += seconds
        self._machine.set_clock(self._sets_clock_s)
        self._sets_clock_s = 0.0
        return len(self.waits) >= 5_000


def recording(machine: Machine, newest_s: float | None, *, begin_s: float = -math.inf) -> FrameTimes:
    return FrameTimes(machine.clock, newest_s, can_wait=True, begin_s=begin_s)


@pytest.mark.parametrize("is_resumed", [True, False])
def test_a_recording_waits_until_the_clock_has_come_to_its_time(is_resumed: bool) -> None:
    machine = Machine()
    machine.set_clock(-HOUR_S)
    waiting = Waiting(machine)
    next_s = START_S + 2.5
    times = recording(machine, next_s) if is_resumed else recording(machine, None, begin_s=next_s)

    times.await_next(waiting, waiting.notes.append)

    assert machine.wall_s == pytest.approx(next_s)
    assert max(waiting.waits) == 1
    assert set(waiting.notes) == {"the clock has not reached the time at which it goes on, 2023-11-14 22:13 UTC"}


def test_a_recording_waits_no_longer_once_the_clock_is_set_right() -> None:
    machine = Machine()
    machine.set_clock(-HOUR_S)
    waiting = Waiting(machine, sets_clock_s=HOUR_S)

    recording(machine, START_S + 0.5).await_next(waiting, waiting.notes.append)

    assert waiting.waits == [1.0]


def test_a_recording_whose_time_has_come_waits_for_nothing() -> None:
    machine = Machine()
    waiting = Waiting(machine)

    recording(machine, START_S).await_next(waiting, waiting.notes.append)
    recording(machine, START_S + 0.5).await_next(waiting, waiting.notes.append)

    assert (waiting.waits, waiting.notes) == ([0.5], [])


def test_a_recording_that_is_stopped_waits_no_longer() -> None:
    machine = Machine()
    waits: list[float] = []
    recording(machine, START_S + HOUR_S).await_next(lambda seconds: not waits.append(seconds), lambda _note: None)

    assert waits == [1.0]


def test_a_live_camera_never_waits_for_the_clock() -> None:
    machine = Machine()
    waiting = Waiting(machine)

    FrameTimes(machine.clock, START_S + HOUR_S, can_wait=False).await_next(waiting, waiting.notes.append)

    assert waiting.waits == []


def test_where_a_recording_goes_on_moves_with_a_clock_that_was_set() -> None:
    machine = Machine()

    assert recording(machine, START_S + 5).after_s(1.0, HOUR_S) == START_S + 5 - HOUR_S
    assert FrameTimes(machine.clock, START_S + 5, can_wait=False).after_s(1.0, HOUR_S) == 1.0


@pytest.mark.parametrize(
    ("url", "pace", "loop", "waits"),
    [
        ("/videos/a.mp4", PlaybackSpeed.LIVE, False, True),
        ("/videos/a.mp4", PlaybackSpeed.LIVE, True, False),
        ("/videos/a.mp4", PlaybackSpeed.FAST, False, False),  # it ends when it was added
        ("rtsp://camera/1", PlaybackSpeed.LIVE, False, False),
        ("sim:street", PlaybackSpeed.LIVE, False, False),
    ],
)
def test_only_a_recording_at_its_own_pace_begins_when_it_was_added(
    url: str, pace: PlaybackSpeed, loop: bool, waits: bool
) -> None:
    machine = Machine()
    waiting = Waiting(machine)
    spec = CameraSpec(name="lobby", url=url, pace=pace, loop=loop)

    FrameTimes.of(spec, machine.clock, None, started_s=START_S + 3).await_next(waiting, waiting.notes.append)

    assert bool(waiting.waits) is waits


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


@given(unix_s=st.floats(1.5e9, 2e9), step_s=st.floats(-1e6, 1e6))
def test_a_time_that_goes_through_the_feeds_clock_comes_back_to_the_bit(unix_s: float, step_s: float) -> None:
    """Or each process would show a simulated camera's frames at other times."""
    machine = Machine()
    machine.set_clock(step_s)
    correction_s = machine.clock.correction_s()

    assert (unix_s - correction_s) + correction_s == unix_s


def test_the_clock_of_a_feed_runs_on_when_the_wall_clock_is_set() -> None:
    machine = Machine()
    before_s = machine.clock()
    machine.set_clock(-HOUR_S)
    machine.boot_s += 1

    assert machine.clock() - before_s == 1
    assert machine.clock.correction_s() == -HOUR_S


def test_a_thread_that_waits_between_two_readings_does_not_move_its_frames() -> None:
    """The wall clock is read first; the clock of the boot may be read much later."""
    delays_s = iter([0.0, 0.0, 0.0, 0.4, 0.0, 0.3])
    clock = SteadyClock(wall=lambda: START_S, boot=lambda: 50.0 + next(delays_s))

    assert clock.correction_s() == 0
