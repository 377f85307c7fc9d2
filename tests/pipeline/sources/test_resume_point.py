"""A recording waits for its time by the wall clock; where a source goes on follows a clock that was set."""

from __future__ import annotations

import pytest

from pipeline.cameras import CameraSpec, PlaybackSpeed
from pipeline.sources.frame_times import FrameTimes
from pipeline.sources.resume_point import ResumePoint
from tests.pipeline.playing import START_S
from tests.pipeline.sources.machine_clocks import Machine

HOUR_S = 3_600.0


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


def point(
    machine: Machine, newest_s: float | None = None, *, started_s: float = START_S, is_recording: bool = True
) -> ResumePoint:
    return ResumePoint(FrameTimes(machine.clock, newest_s), machine.clock, started_s, is_recording=is_recording)


@pytest.mark.parametrize("is_resumed", [True, False])
def test_a_recording_waits_until_the_clock_has_come_to_its_time(is_resumed: bool) -> None:
    machine = Machine()
    machine.set_clock(-HOUR_S)
    waiting = Waiting(machine)
    begin_s = START_S + 2.5
    resume = point(machine, begin_s) if is_resumed else point(machine, started_s=begin_s)

    assert resume.await_begin(waiting, waiting.notes.append)

    assert machine.wall_s == pytest.approx(begin_s)
    assert max(waiting.waits) == 1
    assert set(waiting.notes) == {"the clock has not reached the time at which it goes on, 2023-11-14 22:13 UTC"}


def test_a_recording_waits_no_longer_once_the_clock_is_set_right() -> None:
    machine = Machine()
    machine.set_clock(-HOUR_S)
    waiting = Waiting(machine, sets_clock_s=HOUR_S)

    assert point(machine, START_S + 0.5).await_begin(waiting, waiting.notes.append)

    assert waiting.waits == [1.0]


def test_a_recording_waits_longer_if_the_clock_is_set_back_meanwhile() -> None:
    machine = Machine()
    waiting = Waiting(machine, sets_clock_s=-60)

    assert point(machine, START_S + 5).await_begin(waiting, waiting.notes.append)

    assert machine.wall_s == pytest.approx(START_S + 5)
    assert sum(waiting.waits) == 65


def test_a_recording_whose_time_has_come_waits_for_nothing() -> None:
    machine = Machine()
    waiting = Waiting(machine)

    assert point(machine, START_S).await_begin(waiting, waiting.notes.append)
    assert point(machine, START_S + 0.5).await_begin(waiting, waiting.notes.append)

    assert (waiting.waits, waiting.notes) == ([0.5], [])


def test_a_recording_that_is_stopped_waits_no_longer_and_does_not_begin() -> None:
    machine = Machine()
    waits: list[float] = []

    assert not point(machine, START_S + HOUR_S).await_begin(
        lambda seconds: not waits.append(seconds), lambda _note: None
    )
    assert waits == [1.0]


@pytest.mark.parametrize(
    ("url", "pace", "loop", "waits"),
    [
        ("/videos/a.mp4", PlaybackSpeed.LIVE, False, True),
        ("/videos/a.mp4", PlaybackSpeed.LIVE, True, False),
        ("/videos/a.mp4", PlaybackSpeed.FAST, False, True),
        ("rtsp://camera/1", PlaybackSpeed.LIVE, False, False),
        ("sim:street", PlaybackSpeed.LIVE, False, False),
    ],
)
def test_only_a_recording_waits_until_the_clock_shows_when_it_was_added(
    url: str, pace: PlaybackSpeed, loop: bool, waits: bool
) -> None:
    """One at fast pace ends then: the clock that shows less is back, and its frames have times that it has not."""
    machine = Machine()
    waiting = Waiting(machine)
    spec = CameraSpec(name="lobby", url=url, pace=pace, loop=loop)
    resume = ResumePoint.of(spec, FrameTimes(machine.clock, None), machine.clock, START_S + 3)

    assert resume.await_begin(waiting, waiting.notes.append)

    assert bool(waiting.waits) is waits


def test_where_a_recording_goes_on_moves_with_a_clock_that_was_set() -> None:
    machine = Machine()
    resume = point(machine, START_S + 5)
    resume.give(START_S + 7)  # on its way, and not dated yet
    machine.set_clock(HOUR_S)

    opening = resume.opening_times()

    assert (opening.after_s, opening.correction_s) == (START_S + 5 - HOUR_S, HOUR_S)
    assert opening.started_s == START_S - HOUR_S


def test_a_live_camera_goes_on_behind_the_newest_frame_that_it_gave() -> None:
    machine = Machine()
    resume = point(machine, START_S - 5, is_recording=False)
    assert resume.opening_times().after_s == START_S - 5
    resume.give(START_S - 2)
    machine.set_clock(HOUR_S)

    assert resume.opening_times().after_s == START_S - 2


def test_times_that_have_not_come_count_as_now_for_a_live_camera_and_stay_those_of_a_recording() -> None:
    machine = Machine()
    ahead_s = START_S + HOUR_S
    live = point(machine, ahead_s, started_s=ahead_s, is_recording=False).opening_times()
    recorded = point(machine, ahead_s, started_s=ahead_s).opening_times()

    assert (live.started_s, live.after_s) == (START_S, START_S)
    assert (recorded.started_s, recorded.after_s) == (ahead_s, ahead_s)


@pytest.mark.parametrize(
    ("newest_s", "gives", "has_frames"), [(None, False, False), (1.0, False, True), (None, True, True)]
)
def test_a_camera_has_frames_if_it_gave_some_to_this_feed_or_to_another_one(
    newest_s: float | None, gives: bool, has_frames: bool
) -> None:
    resume = point(Machine(), newest_s)
    if gives:
        resume.give(START_S)

    assert resume.has_frames is has_frames
