"""A standby stream of a machine whose clock differs is taken over: no frame is lost, or read twice."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from actors.shard.camera_streams import CameraStreams
from actors.shard.interface import Assignment
from cache_store.gap import Gap, GapReason
from pipeline.cameras import CameraState
from pipeline.device.gap_log import GapLog
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from tests.actors.shard.shards import STARTED_S, live
from tests.actors.shard.test_set_clocks import Feed, open_feed, saved
from tests.pipeline.playing import QUICK

PERIOD_S = 1 / QUICK.sample_fps
LAST = 9  # the number of the newest frame that the owner before has read
NEWEST_S = STARTED_S + LAST * PERIOD_S


class NextMachine:
    """A shard whose clock is ahead, and which has seen some frames of the stream as a standby.

    A frame shows its number: frame n is of STARTED_S + n periods by the clock of the owner before.
    """

    def __init__(self, ahead_s: float, first: int = LAST - 1) -> None:
        self._ahead_s, self._next = ahead_s, first
        self.clips = ClipQueue(8)
        self.streams = CameraStreams(
            self.clips, QUICK, open_feed, clock=lambda: self._time_s(max(self._next, LAST + 1))
        )
        self.standby = self.streams.open_standby(live())
        self.give(4)

    def give(self, frames: int) -> None:
        for number in range(self._next, self._next + frames):
            time_s, pixels = self._time_s(number), np.full((1, 1, 1, 3), number, np.uint8)
            self.clips.put(Clip("street", pixels, (time_s,), (pixels[0],), time_s, PERIOD_S))
        self._next += frames

    def take_over(self, clock_ahead_s: float | None) -> None:
        assignment: Assignment = dataclasses.replace(live(), clock_ahead_s=clock_ahead_s)
        self.streams.open(assignment, saved(NEWEST_S))

    def take(self) -> list[Clip]:
        return list(iter(self.clips.take, None))

    def _time_s(self, number: int) -> float:
        return STARTED_S + number * PERIOD_S + self._ahead_s + 0.01  # the connections differ a little


def numbers(clips: list[Clip]) -> list[int]:
    return [int(clip.frames[0, 0, 0, 0]) for clip in clips]


def gaps(clips: list[Clip]) -> tuple[Gap, ...]:
    log, newest_s = GapLog(3.0), NEWEST_S
    log.restore((), newest_s)
    for clip in clips:
        log.note(clip, newest_s)
        newest_s = clip.times_s[-1]
    return log.gaps


@pytest.mark.parametrize("ahead_s", [-30.0, -1.0, -0.3, 0.0, 0.3, 1.0, 30.0])
async def test_no_frame_is_lost_or_read_twice_whatever_the_clock_of_the_next_machine(ahead_s: float) -> None:
    machine = NextMachine(ahead_s)

    machine.take_over(ahead_s)
    clips = machine.take()
    machine.give(4)
    clips += machine.take()

    assert machine.standby is machine.streams.owned["street"]
    assert numbers(clips) == [10, 11, 12, 13, 14, 15]
    times_s = [clip.times_s[0] for clip in clips]
    assert all(later > earlier for earlier, later in pairwise([NEWEST_S, *times_s]))
    assert machine.clips.newest_s("street") == times_s[-1]
    jump = [(GapReason.RESTORED, NEWEST_S, NEWEST_S + PERIOD_S + ahead_s + 0.01)]
    assert [(gap.reason, gap.start_s, gap.end_s) for gap in gaps(clips)] == (jump if ahead_s > PERIOD_S / 2 else [])


async def test_an_operator_reads_that_the_times_stand_until_the_clock_of_the_next_machine_has_passed_them() -> None:
    machine = NextMachine(-30.0)
    machine.take_over(-30.0)
    stream = machine.streams.owned["street"]
    stream.report(CameraState.CONNECTING, "", None, None, 0.0)
    assert machine.streams.detail(stream) == ""
    stream.report(CameraState.LIVE, "few frames", None, None, 0.0)

    assert machine.streams.detail(stream).startswith(
        "few frames; the clock was set back: the times of its frames stand"
    )
    machine.give(61)
    assert machine.streams.detail(stream) == "few frames"


async def test_frames_of_the_other_machine_that_come_after_the_takeover_are_left_out_too() -> None:
    machine = NextMachine(-30.0, first=1)  # its stream comes late
    machine.take()

    machine.take_over(-30.0)
    machine.give(8)

    assert numbers(machine.take()) == [10, 11, 12]


async def test_a_memory_that_is_erased_after_a_takeover_gets_rising_times() -> None:
    machine = NextMachine(-30.0)
    machine.take_over(-30.0)
    machine.clips.erase("street")
    machine.give(1)

    (clip,) = machine.take()
    assert clip.times_s[0] > NEWEST_S


async def test_a_stream_is_opened_anew_for_a_memory_whose_times_stand_by_both_clocks() -> None:
    """The owner before was behind, too: its newest frame has a time that its own clock had not reached."""
    machine = NextMachine(0.0)

    machine.streams.open(dataclasses.replace(live(), clock_ahead_s=0.0), saved(NEWEST_S + 5 * PERIOD_S))

    feed = machine.streams.owned["street"].feed
    assert isinstance(feed, Feed)
    assert feed.resume_from_s == NEWEST_S + 5 * PERIOD_S


async def test_a_stream_is_not_opened_anew_for_clocks_that_nobody_compared_unless_they_differ_much() -> None:
    machine = NextMachine(-1.9)

    machine.take_over(None)

    assert machine.streams.owned["street"] is machine.standby
