"""Cameras that restart, are set up anew or change in mid-stream: frames resume by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import structlog

from pipeline.cameras import CameraState
from pipeline.sources.clips import Clip
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, Footage
from tests.pipeline.playing import QUICK, Watched, watching
from tests.pipeline.sources.test_opening import jpeg, needs_rtsp

PROMPT = replace(QUICK, first_retry_s=0.1, last_retry_s=0.5, stall_after_s=3, open_timeout_s=4)
TS = replace(H264, container="mpegts", frames=40)
HEVC = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:bframes=0"}
SECOND = range(100, 140)  # the numbers of what is shown later


def ts(folder: Path, made: Footage, numbers: range | None = None) -> bytes:
    return footage.write(folder / "part.ts", made, numbers).read_bytes()


def take_until(watched: Watched, is_enough: Callable[[list[Clip]], bool], timeout_s: float = 30) -> list[Clip]:
    """Clips until there are enough of them."""
    taken: list[Clip] = []
    deadline_s = time.monotonic() + timeout_s
    while not is_enough(taken):
        assert time.monotonic() < deadline_s, (watched.states, numbers_of(taken))
        taken.append(watched.take(timeout_s))
    return taken


def numbers_of(clips: list[Clip]) -> list[int]:
    return [footage.number_of(frame) for clip in clips for frame in clip.frames]


def has_later_part(clips: list[Clip]) -> bool:
    return sum(number in SECOND for number in numbers_of(clips)) >= 4


CHANGES = {
    "codec": replace(TS, codec="libx265", options=HEVC),
    "size": replace(TS, size=(320, 240)),
    "codec_and_size": replace(TS, codec="libx265", options=HEVC, size=(320, 240)),
    "clock_set_back": TS,
}


@pytest.mark.slow
@pytest.mark.parametrize("later", CHANGES.values(), ids=CHANGES)
def test_frames_go_on_when_a_stream_changes_in_the_middle(later: Footage, tmp_path: Path) -> None:
    parts = [(ts(tmp_path, TS), 4.0)] + [(ts(tmp_path, later, SECOND), 4.0)] * 9
    with servers.pushed_parts(*parts) as url, watching(url, config=PROMPT) as watched:
        clips = take_until(watched, has_later_part)

    times_s = [time_s for clip in clips for time_s in clip.times_s]
    assert all(earlier < later for earlier, later in pairwise(times_s))
    assert {number < 100 for number in numbers_of(clips)} == {True, False}
    assert CameraState.FAILED not in dict(watched.states)


def test_a_clock_that_is_set_back_costs_no_connection(tmp_path: Path) -> None:
    parts = ((ts(tmp_path, TS), 4.0), (ts(tmp_path, TS, SECOND), 4.0))
    with servers.pushed_parts(*parts) as url, watching(url, config=PROMPT) as watched:
        clips = take_until(watched, has_later_part)
        states = list(watched.states)

    steps_s = [later - earlier for earlier, later in pairwise([time_s for clip in clips for time_s in clip.times_s])]
    assert [state for state, _ in states] == [CameraState.CONNECTING, CameraState.LIVE]
    assert max(steps_s) < 1.3


@pytest.mark.slow
@pytest.mark.rtsp
@needs_rtsp
def test_an_rtsp_camera_that_comes_back_with_another_codec_and_size_is_watched_on(tmp_path: Path) -> None:
    first = footage.write(tmp_path / "first.mp4", replace(H264, frames=100))
    made = replace(H264, codec="libx265", options=HEVC, size=(320, 240), frames=100)
    second = footage.write(tmp_path / "second.mp4", made, range(100, 200))
    with (
        servers.rtsp_camera(servers.h264_file(first)) as (port, process),
        watching(f"rtsp://127.0.0.1:{port}/live", config=PROMPT) as watched,
    ):
        before = watched.take()
        process.kill()
        watched.wait_for(CameraState.STALLED)
        with servers.rtsp_camera(servers.hevc_file(second), port=port):
            clips = take_until(watched, lambda clips: any(number >= 100 for number in numbers_of(clips)))

    assert clips[-1].times_s[0] > before.times_s[-1]
    assert CameraState.FAILED not in dict(watched.states)


@pytest.mark.slow
def test_a_camera_that_was_live_is_tried_again_although_it_shows_no_video_now(tmp_path: Path) -> None:
    part = ts(tmp_path, TS, SECOND)
    sound = footage.write_audio(tmp_path / "sound.ts").read_bytes()
    parts = [(part, 4.0)] + [(sound, 1.0)] * 12 + [(part, 4.0)] * 6
    with servers.pushed_parts(*parts) as url, watching(url, config=PROMPT) as watched:
        watched.wait_for(CameraState.LIVE)
        watched.wait_for(CameraState.BACKING_OFF, timeout_s=25)
        while "no video" not in (reason := watched.states[-1][1]):
            assert CameraState.FAILED not in dict(watched.states), watched.states
            time.sleep(0.01)
        watched.states.clear()
        watched.wait_for(CameraState.LIVE)

    assert "it has no video; try " in reason


def test_a_camera_that_cannot_be_reached_says_when_it_is_tried_next_and_is_logged_once() -> None:
    with structlog.testing.capture_logs() as logged, watching("http://127.0.0.1:1/live.ts", config=PROMPT) as watched:
        deadline_s = time.monotonic() + 20
        while len(watched.states) < 5 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        states = list(watched.states)

    assert [state for state, _ in states[:5]] == [CameraState.CONNECTING] + [CameraState.BACKING_OFF] * 4
    for tries, (_, detail) in enumerate(states[1:5], start=2):
        assert f"; try {tries} in " in detail
    backing_off = [event for event in logged if event.get("state") == "backing_off"]
    assert len(backing_off) == 1
    assert "try" not in backing_off[0]["detail"]


@contextmanager
def nothing_left_behind():
    """Threads and open files are as many after the block as before."""
    process = psutil.Process()
    before = (process.num_threads(), process.num_fds())
    yield
    deadline_s = time.monotonic() + 5
    while (process.num_threads(), process.num_fds()) > before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert process.num_threads() <= before[0]
    assert process.num_fds() <= before[1]


@pytest.mark.slow
def test_coming_back_again_and_again_leaves_no_thread_and_no_file_behind() -> None:
    with servers.pushed_jpegs((jpeg(1), jpeg(2)), 0.02, most=60) as url:
        with watching(url, config=PROMPT) as once:
            once.take()
        with nothing_left_behind(), watching(url, config=PROMPT) as watched:
            deadline_s = time.monotonic() + 40
            while sum(state is CameraState.STALLED for state, _ in watched.states) < 10:
                assert time.monotonic() < deadline_s, watched.states
                time.sleep(0.1)
                watched.clips.take()
