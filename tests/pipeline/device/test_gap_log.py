"""Frames that were lost while times came again are a gap, although their times do not show that."""

from __future__ import annotations

import numpy as np
import pytest

from cache_store.gap import Gap, GapReason
from pipeline.device.gap_log import GapLog
from pipeline.sources.clip_queue import DROPPED, ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.frame_times import FrameTimes
from pipeline.sources.playback import RECONNECTED
from tests.pipeline.playing import START_S
from tests.pipeline.sources.machine_clocks import Machine

GAP_AFTER_S = 3.0
PIXELS = np.zeros((1, 1, 1, 3), np.uint8)


class Camera:
    """Gives a frame each second, from its feed into a memory. newest_s: of the frames that it gave before."""

    def __init__(self, machine: Machine, newest_s: float | None = None) -> None:
        self._machine = machine
        self._times, self._newest_s = FrameTimes(machine.clock, newest_s), newest_s
        self.log = GapLog(GAP_AFTER_S)
        self._queue = ClipQueue(2)

    def give(self, frames: int, lost_before: str = "") -> None:
        for number in range(frames):
            self._machine.boot_s += 1
            now_s = self._machine.clock()
            lost = () if number else (lost_before,)
            clip = Clip("lobby", PIXELS, (now_s,), (PIXELS[0],), now_s, period_s=1.0, lost_before=lost)
            self._queue.put(self._times.date(clip))

    def read(self) -> None:
        for clip in iter(self._queue.take, None):
            self.log.note(clip, self._newest_s)
            self._newest_s = clip.times_s[-1]


def reasons(log: GapLog) -> list[str]:
    return [gap.reason for gap in log.gaps]


def behind_an_hour() -> Camera:
    machine = Machine()
    camera = Camera(machine)
    camera.give(2)
    machine.set_clock(-3_600.0)
    camera.give(2)
    camera.read()
    return camera


def test_a_reconnection_while_the_clock_is_back_is_a_gap() -> None:
    camera = behind_an_hour()

    camera.give(1, RECONNECTED)
    camera.read()

    (gap,) = camera.log.gaps
    assert gap.reason == GapReason.RECONNECTED
    assert 0 < gap.end_s - gap.start_s < 0.1


def test_frames_that_are_dropped_while_the_clock_is_back_are_a_gap() -> None:
    camera = behind_an_hour()

    camera.give(3)
    camera.read()

    assert reasons(camera.log) == [DROPPED]


def test_nothing_that_was_not_lost_is_a_gap_while_the_clock_is_back() -> None:
    camera = behind_an_hour()
    for _ in range(4):
        camera.give(1)
        camera.read()

    assert camera.log.gaps == ()


def test_a_reconnection_that_lost_no_frame_is_none_while_the_clock_is_right() -> None:
    camera = Camera(Machine())
    camera.give(1)
    camera.give(1, RECONNECTED)
    camera.read()

    assert camera.log.gaps == ()


@pytest.mark.parametrize("behind_s", [30.0, 8.0])
def test_what_is_lost_before_a_machine_whose_clock_is_behind_restores_a_memory_is_a_gap(behind_s: float) -> None:
    """A checkpoint has no newest frames, and its stream is opened anew."""
    machine = Machine()
    machine.set_clock(-behind_s)
    machine.boot_s += 7  # so much was lost
    camera = Camera(machine, START_S)
    camera.log.restore((), START_S)

    camera.give(1, RECONNECTED)
    camera.give(1)
    camera.read()

    (gap,) = camera.log.gaps
    assert gap == Gap(START_S, pytest.approx(START_S, abs=0.5), GapReason.RESTORED)


def test_a_memory_that_was_moved_whole_to_such_a_machine_has_no_gap() -> None:
    machine = Machine()
    machine.set_clock(-30.0)
    camera = Camera(machine, START_S)
    camera.log.restore((), START_S)

    camera.give(2)
    camera.read()

    assert camera.log.gaps == ()
