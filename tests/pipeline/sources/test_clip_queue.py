"""The queue of clips is bounded, drops the oldest, serves cameras in turn and counts losses."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.clip_queue import DROPPED, ClipQueue
from pipeline.sources.clips import Clip


def clip(camera: str, time_s: float, frames: int = 1) -> Clip:
    times_s = tuple(time_s + index / 10 for index in range(frames))
    return Clip(
        camera,
        torch.zeros(frames, 4, 4, 3, dtype=torch.uint8),
        times_s,
        (torch.zeros(4, 4, 3, dtype=torch.uint8),) * frames,
        time_s,
    )


def take_all(clips: ClipQueue) -> list[tuple[str, float]]:
    """The camera and the first time of every clip that can be taken."""
    return [(taken.camera, taken.times_s[0]) for taken in iter(clips.take, None)]


def test_the_oldest_clips_are_dropped_and_counted_in_frames() -> None:
    clips = ClipQueue(2)
    for time_s in range(5):
        clips.put(clip("lobby", time_s, frames=3))

    assert take_all(clips) == [("lobby", 3), ("lobby", 4)]
    assert clips.dropped_frames("lobby") == 9


def test_who_puts_a_clip_hears_what_was_lost_for_it_unless_clips_are_held_back() -> None:
    clips = ClipQueue(1)
    assert [clips.put(clip("lobby", time_s, frames=3)) for time_s in range(3)] == [0, 3, 3]

    clips.hold_back("lobby")
    assert clips.put(clip("lobby", 3.0)) == 0
    assert clips.dropped_frames("lobby") == 6
    clips.release("lobby")
    assert clips.dropped_frames("lobby") == 9


def test_the_clip_after_dropped_ones_says_so() -> None:
    queue = ClipQueue(2)
    for number in range(4):
        queue.put(clip("gate", number))

    taken = [queue.take(), queue.take()]
    assert [one and one.lost_before for one in taken] == [(DROPPED,), ()]


def test_cameras_take_turns() -> None:
    clips = ClipQueue(4)
    for time_s in range(3):
        clips.put(clip("busy", time_s))
    clips.put(clip("quiet", 10))

    assert take_all(clips) == [("busy", 0), ("quiet", 10), ("busy", 1), ("busy", 2)]


def test_a_step_of_each_camera_is_taken_at_once_in_the_order_of_their_turns() -> None:
    clips = ClipQueue(4)
    for camera, time_s, frames in (("busy", 0, 12), ("quiet", 10, 3), ("busy", 2, 1), ("held", 5, 1), ("late", 20, 1)):
        clips.put(clip(camera, time_s, frames))
    clips.hold_back("held")

    assert clips.next_steps(8) == [8, 3, 1]
    first = clips.take_steps(2, 8)
    assert [(taken.camera, len(taken.times_s)) for taken in first] == [("busy", 8), ("quiet", 3)]
    second = clips.take_steps(9, 8)
    assert [(taken.camera, len(taken.times_s)) for taken in second] == [("late", 1), ("busy", 4)]
    assert take_all(clips) == [("busy", 2)]


def test_the_device_is_woken_by_each_clip() -> None:
    woken = []
    clips = ClipQueue(1, on_put=lambda: woken.append(1))

    clips.put(clip("lobby", 0))
    clips.put(clip("lobby", 1))

    assert len(woken) == 2


def test_removing_a_camera_removes_its_clips_and_counts() -> None:
    clips = ClipQueue(1)
    clips.put(clip("lobby", 0))
    clips.put(clip("lobby", 1))
    clips.count_dropped("lobby", 7)

    clips.remove("lobby")

    assert clips.take() is None
    assert clips.dropped_frames("lobby") == 0


@pytest.mark.parametrize("forget", [ClipQueue.discard, ClipQueue.remove])
def test_a_clip_that_was_taken_can_be_claimed_unless_its_camera_s_were_forgotten(
    forget: Callable[[ClipQueue, str], None],
) -> None:
    clips = ClipQueue(4)
    taken: list[Clip] = []
    for time_s in range(2):
        clips.put(clip("lobby", time_s))
        taken += clips.take_steps(1)
        forget(clips, "gate" if time_s else "lobby")

    assert [clips.claim(one) for one in (*taken, *taken)] == [False, True, False, True]


def test_a_clip_that_was_claimed_is_discarded_no_more() -> None:
    clips = ClipQueue(4)
    clips.put(clip("lobby", 0, frames=3))
    (taken,) = clips.take_steps(1)
    assert clips.claim(taken)
    clips.discard("lobby")

    assert clips.claim(taken)
    assert clips.dropped_frames("lobby") == 0


def test_the_newest_frame_is_the_last_one_put_until_it_is_to_be_given_again() -> None:
    clips = ClipQueue(4)
    assert clips.newest_s("lobby") is None
    clips.put(clip("lobby", 0, frames=4))
    first = clips.take(max_frames=2)
    assert first is not None
    assert clips.claim(first)
    clips.put(clip("lobby", 5))
    assert clips.newest_s("lobby") == 5

    clips.discard("lobby")
    assert clips.newest_s("lobby") == 5
    clips.discard("lobby", are_lost=False)
    assert clips.newest_s("lobby") == 0.1
    clips.remove("lobby")
    assert clips.newest_s("lobby") is None


def test_a_queue_keeps_nothing_of_cameras_that_it_does_not_know() -> None:
    clips = ClipQueue(4)

    clips.wait_for_space("lobby", 0)
    clips.claim(clip("lobby", 0))
    clips.discard("lobby")

    assert clips.dropped_frames("lobby") == 0
    assert (clips.sampled_fps("lobby"), clips.held_back_since_s("lobby"), clips.newest_s("lobby")) == (None,) * 3
    assert not clips._cameras


def test_a_clip_that_was_taken_and_forgotten_is_not_claimed_for_a_later_one_of_its_times() -> None:
    clips = ClipQueue(4)
    clips.put(clip("lobby", 0))
    (first,) = clips.take_steps(1)
    clips.discard("lobby")
    clips.put(clip("lobby", 0))
    (again,) = clips.take_steps(1)

    assert [clips.claim(first), clips.claim(again)] == [False, True]


def test_a_clip_that_was_taken_goes_back_in_front_of_those_that_are_held_back() -> None:
    clips = ClipQueue(2)
    first, second = clip("lobby", 1), clip("lobby", 2)
    clips.put(first)
    clips.put(second)
    assert clips.take() is first
    assert not clips.take_back(first)

    clips.hold_back("lobby")
    assert clips.take_back(first)
    assert not clips.claim(first)
    assert clips.take() is None
    clips.release("lobby")

    assert [clips.take(), clips.take()] == [first, second]
    clips.discard("lobby")
    clips.hold_back("lobby")
    assert not clips.take_back(second)


def test_a_clip_that_goes_back_to_a_full_queue_is_lost_only_where_the_source_does_not_wait() -> None:
    """It was dropped, so a recording lost frames by a move that was given up."""
    clips = ClipQueue(2)
    for time_s in range(3):
        clips.put(clip("lobby", time_s, frames=3))
    first = clips.take()
    assert first is not None
    clips.put(clip("lobby", 3, frames=3))
    clips.hold_back("lobby")

    assert clips.take_back(first)
    assert not clips.wait_for_space("lobby", 0)
    assert clips.dropped_frames("lobby") == 3
    clips.release("lobby")
    assert clips.take() is first
    assert not clips.wait_for_space("lobby", 0)

    clips.hold_back("lobby")
    assert clips.take_back(first)
    clips.release("lobby")
    assert clips.put(clip("lobby", 4, frames=3)) == 6
    assert clips.dropped_frames("lobby") == 9
    newest = clips.take()
    assert newest is not None
    assert (newest.times_s[0], newest.lost_before[0]) == (3, DROPPED)
    assert take_all(clips) == [("lobby", 4)]


@pytest.mark.parametrize(
    "make_space",
    [
        ClipQueue.take,
        lambda clips: clips.discard("lobby"),
        lambda clips: clips.erase("lobby"),
        lambda clips: clips.remove("lobby"),
    ],
)
def test_wait_for_space_blocks_until_a_clip_is_taken_or_gone(make_space: Callable[[ClipQueue], object]) -> None:
    clips = ClipQueue(1)
    clips.put(clip("lobby", 0))

    assert not clips.wait_for_space("lobby", timeout_s=0.01)
    assert clips.wait_for_space("other", timeout_s=0.01)
    threading.Timer(0.05, make_space, [clips]).start()
    began_s = time.monotonic()
    assert clips.wait_for_space("lobby", timeout_s=10)
    assert time.monotonic() - began_s < 5  # without a notice it looks again only after the timeout


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_every_frame_is_taken_or_counted_and_each_camera_in_order(steps: list[tuple[str, bool]]) -> None:
    clips = ClipQueue(2)
    put, got = 0, []
    for index, (camera, is_put) in enumerate(steps):
        if is_put:
            clips.put(clip(camera, index))
            put += 1
        elif (taken := clips.take()) is not None:
            got.append((taken.camera, taken.times_s[0]))
    got += take_all(clips)

    assert put == len(got) + sum(clips.dropped_frames(camera) for camera in "abc")
    for camera in "abc":
        times_s = [time_s for name, time_s in got if name == camera]
        assert times_s == sorted(times_s)


def test_clips_that_are_held_back_wait_and_the_oldest_are_dropped() -> None:
    clips = ClipQueue(2)
    clips.hold_back("lobby")
    assert clips.held_back_since_s("lobby") is None
    for time_s in range(3):
        clips.put(clip("lobby", time_s))
    clips.put(clip("yard", 9))

    assert take_all(clips) == [("yard", 9)]
    assert not clips.has_clips()
    assert clips.held_back_since_s("lobby") == 1
    clips.release("lobby")
    assert clips.has_clips()
    assert take_all(clips) == [("lobby", 1), ("lobby", 2)]
    assert clips.dropped_frames("lobby") == 1


def test_released_clips_and_later_ones_leave_out_frames_up_to_after_s() -> None:
    clips = ClipQueue(2)
    clips.hold_back("lobby")
    for time_s in (0, 1, 2):
        clips.put(clip("lobby", time_s, frames=3))
    assert clips.dropped_frames("lobby") == 0  # a count that falls would be counted again from 0
    clips.release("lobby", after_s=2.1)

    assert [taken.times_s for taken in iter(clips.take, None)] == [(2.2,)]
    assert clips.dropped_frames("lobby") == 0
    clips.put(clip("lobby", 2.05, frames=2))
    assert [taken.times_s for taken in iter(clips.take, None)] == [(2.05 + 0.1,)]


def test_frames_that_another_shard_has_read_are_left_out_though_a_move_is_given_up_later() -> None:
    """They came into the memory a second time, behind newer ones."""
    clips = ClipQueue(2)
    clips.release("lobby", after_s=2.1)
    clips.hold_back("lobby")
    for time_s in (0, 1, 2):
        clips.put(clip("lobby", time_s, frames=3))
    clips.release("lobby")

    assert clips.dropped_frames("lobby") == 0
    assert [taken.times_s for taken in iter(clips.take, None)] == [(2.2,)]


def test_erasing_removes_clips_and_counts_but_not_where_the_source_goes_on() -> None:
    """What was erased came back when the stream was opened anew, or when it came again to where it had been."""
    clips = ClipQueue(2)
    clips.erase("lobby")
    assert not clips._cameras
    clips.release("lobby", after_s=2.1)
    for time_s in (1, 2, 3, 4):
        clips.put(dataclasses.replace(clip("lobby", time_s, frames=3), period_s=0.5))
    taken = clips.take()
    assert taken is not None
    clips.put(clip("lobby", 5))
    clips.hold_back("lobby")

    clips.erase("lobby")

    assert not clips.claim(taken)
    assert not clips.take_back(taken)
    assert clips.dropped_frames("lobby") == 0
    assert clips.newest_s("lobby") == 5
    clips.put(clip("lobby", 2, frames=3))
    assert clips.take() is None
    clips.discard("lobby", are_lost=False)
    assert clips.newest_s("lobby") == 5
    clips.put(clip("lobby", 2, frames=3))
    clips.release("lobby")
    assert [left.times_s for left in iter(clips.take, None)] == [(2.2,)]


def test_the_rate_of_a_camera_is_that_of_its_newest_clip() -> None:
    clips = ClipQueue(2)
    assert clips.sampled_fps("lobby") is None

    for period_s in (0.5, 0.5, 2.0):
        clips.put(dataclasses.replace(clip("lobby", period_s), period_s=period_s))

    assert clips.sampled_fps("lobby") == 0.5
    clips.erase("lobby")
    assert clips.sampled_fps("lobby") == 0.5
    clips.remove("lobby")
    assert clips.sampled_fps("lobby") is None
