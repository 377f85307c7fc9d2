"""Clips on their way to the device: bounded, the newest wins, every camera gets its turn, losses are counted."""

from __future__ import annotations

import threading

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip


def clip(camera: str, time_s: float, frames: int = 1) -> Clip:
    times_s = tuple(time_s + place / 10 for place in range(frames))
    return Clip(
        camera,
        torch.zeros(frames, 4, 4, 3, dtype=torch.uint8),
        times_s,
        (torch.zeros(4, 4, 3, dtype=torch.uint8),) * frames,
        time_s,
    )


def taken(clips: ClipQueue) -> list[tuple[str, float]]:
    found = []
    while (one := clips.take()) is not None:
        found.append((one.camera, one.times_s[0]))
    return found


def test_the_newest_win_and_the_dropped_are_counted_in_frames() -> None:
    clips = ClipQueue(2)
    for time_s in range(5):
        clips.put(clip("lobby", time_s, frames=3))

    assert taken(clips) == [("lobby", 3), ("lobby", 4)]
    assert clips.dropped_frames("lobby") == 9


def test_cameras_take_turns() -> None:
    clips = ClipQueue(4)
    for time_s in range(3):
        clips.put(clip("busy", time_s))
    clips.put(clip("quiet", 10))

    assert taken(clips) == [("busy", 0), ("quiet", 10), ("busy", 1), ("busy", 2)]


def test_the_device_is_woken_by_each_clip() -> None:
    woken = []
    clips = ClipQueue(1, on_put=lambda: woken.append(1))

    clips.put(clip("lobby", 0))
    clips.put(clip("lobby", 1))

    assert len(woken) == 2


def test_a_forgotten_camera_leaves_nothing() -> None:
    clips = ClipQueue(1)
    clips.put(clip("lobby", 0))
    clips.put(clip("lobby", 1))
    clips.count_dropped("lobby", 7)

    clips.remove("lobby")

    assert clips.take() is None
    assert clips.dropped_frames("lobby") == 0


def test_who_can_wait_waits_for_room() -> None:
    clips = ClipQueue(1)
    clips.put(clip("lobby", 0))

    assert not clips.wait_for_space("lobby", timeout_s=0.01)
    assert clips.wait_for_space("other", timeout_s=0.01)
    threading.Timer(0.05, clips.take).start()
    assert clips.wait_for_space("lobby", timeout_s=10)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_every_frame_is_taken_or_counted_and_each_camera_in_order(steps: list[tuple[str, bool]]) -> None:
    clips = ClipQueue(2)
    put, got = 0, []
    for place, (camera, is_put) in enumerate(steps):
        if is_put:
            clips.put(clip(camera, place))
            put += 1
        elif (one := clips.take()) is not None:
            got.append((one.camera, one.times_s[0]))
    got += taken(clips)

    assert put == len(got) + sum(clips.dropped_frames(camera) for camera in "abc")
    for camera in "abc":
        times_s = [time_s for name, time_s in got if name == camera]
        assert times_s == sorted(times_s)


def test_clips_that_are_held_wait_and_the_newest_win() -> None:
    clips = ClipQueue(2)
    clips.hold_back("lobby")
    assert clips.held_back_since_s("lobby") is None
    for time_s in range(3):
        clips.put(clip("lobby", time_s))
    clips.put(clip("yard", 9))

    assert taken(clips) == [("yard", 9)]
    assert not clips.has_clips()
    assert clips.held_back_since_s("lobby") == 1
    clips.release("lobby")
    assert clips.has_clips()
    assert taken(clips) == [("lobby", 1), ("lobby", 2)]
    assert clips.dropped_frames("lobby") == 1


def test_what_was_seen_elsewhere_is_left_out_of_held_clips_and_of_those_to_come() -> None:
    clips = ClipQueue(2)
    clips.hold_back("lobby")
    for time_s in (0, 1, 2):
        clips.put(clip("lobby", time_s, frames=3))
    clips.release("lobby", after_s=2.1)

    assert [one.times_s for one in iter(clips.take, None)] == [(2.2,)]
    assert clips.dropped_frames("lobby") == 0
    clips.put(clip("lobby", 2.05, frames=2))
    assert [one.times_s for one in iter(clips.take, None)] == [(2.05 + 0.1,)]
