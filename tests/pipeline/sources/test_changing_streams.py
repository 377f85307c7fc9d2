"""A camera that restarts, is configured anew or changes in the middle of its stream: frames resume without help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
from tests.pipeline.footage import H264, Footage, jpeg
from tests.pipeline.playing import QUICK, RunningFeed, running_feed
from tests.pipeline.servers import Reply, needs_rtsp
from tests.servers import free_port

# Four times the usual rates, so that a second of stream says as much as four.
FAST = replace(
    QUICK,
    sample_fps=8,
    max_clip_wait_s=0.3,
    max_segment_s=0.25,
    first_retry_s=0.1,
    last_retry_s=0.2,
    stall_after_s=1.0,
)
TS = replace(H264, container="mpegts", fps=40, frames=60)
HEVC = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:bframes=0"}
LATER = range(100, 160)  # the numbers of the frames of the later parts
PART_S = 1.5  # longer than MAX_STEP_BACK_S, so that the next part is a restart of the clock


def ts(folder: Path, video: Footage, numbers: range | None = None) -> bytes:
    return footage.write(folder / "part.ts", video, numbers).read_bytes()


def take_until(feed: RunningFeed, is_enough: Callable[[list[Clip]], bool]) -> list[Clip]:
    """Takes clips until there are enough of them."""
    clips: list[Clip] = []
    while not is_enough(clips):
        clips.append(feed.take())
    return clips


def numbers_of(clips: list[Clip]) -> list[int]:
    return [footage.number_of(frame) for clip in clips for frame in clip.frames]


def has_later_part(clips: list[Clip]) -> bool:
    return sum(number in LATER for number in numbers_of(clips)) >= 4


CHANGES = {
    "codec": replace(TS, codec="libx265", options=HEVC),
    "size": replace(TS, size=(320, 240)),
    "codec_and_size": replace(TS, codec="libx265", options=HEVC, size=(320, 240)),
    "clock_set_back": TS,
}


@pytest.mark.parametrize("later", CHANGES.values(), ids=CHANGES)
def test_frames_resume_when_a_stream_changes_in_the_middle(later: Footage, tmp_path: Path) -> None:
    parts = [(ts(tmp_path, TS), PART_S)] + [(ts(tmp_path, later, LATER), PART_S)] * 20
    with servers.stream_server(*parts) as url, running_feed(url, config=FAST, retry_jitter_s=0) as feed:
        clips = take_until(feed, has_later_part)

    times_s = [time_s for clip in clips for time_s in clip.times_s]
    assert all(earlier < later for earlier, later in pairwise(times_s))
    assert {number < 100 for number in numbers_of(clips)} == {True, False}
    assert CameraState.FAILED not in dict(feed.states)


@pytest.mark.parametrize("seconds", [PART_S, 1.0, 0.5, 0.25])
def test_a_stream_clock_that_is_set_back_does_not_break_the_connection(seconds: float, tmp_path: Path) -> None:
    """Once, or each second or more often: an encoder that restarts, or discontinuities of a playlist."""
    video = replace(TS, frames=int(40 * seconds))
    count = round(4.5 / seconds)
    numbers = [range(index * video.frames % 200, index * video.frames % 200 + video.frames) for index in range(count)]
    parts = [(ts(tmp_path, video, shown), seconds) for shown in numbers]
    config = replace(FAST, stall_after_s=10)
    with servers.stream_server(*parts) as url, running_feed(url, config=config) as feed:
        clips = take_until(feed, lambda clips: len(numbers_of(clips)) >= 24)
        states = list(feed.states)

    steps_s = [later - earlier for earlier, later in pairwise([time_s for clip in clips for time_s in clip.times_s])]
    assert [state for state, _ in states] == [CameraState.CONNECTING, CameraState.LIVE]
    assert min(steps_s) > 0
    assert max(steps_s) < 0.6


@pytest.mark.rtsp
@needs_rtsp
def test_an_rtsp_camera_that_comes_back_with_another_codec_and_size_is_read_again(tmp_path: Path) -> None:
    first = footage.write(tmp_path / "first.mp4", replace(H264, fps=40, frames=100))
    changed = replace(H264, codec="libx265", options=HEVC, size=(320, 240), fps=40, frames=100)
    second = footage.write(tmp_path / "second.mp4", changed, range(100, 200))
    config = replace(FAST, open_timeout_s=10)
    with (
        servers.rtsp_server(servers.h264_file(first), port=free_port()) as (port, process),
        running_feed(f"rtsp://127.0.0.1:{port}/live", config=config, retry_jitter_s=0) as feed,
    ):
        before = feed.take()
        process.kill()
        feed.wait_for(CameraState.STALLED)
        with servers.rtsp_server(servers.hevc_file(second), port=port):
            clips = take_until(feed, lambda clips: any(number >= 100 for number in numbers_of(clips)))

    assert clips[-1].times_s[0] > before.times_s[-1]
    assert CameraState.FAILED not in dict(feed.states)


def test_a_camera_that_was_live_is_retried_although_it_has_no_video_now(tmp_path: Path) -> None:
    video = ts(tmp_path, TS, LATER)
    audio = footage.write_audio(tmp_path / "audio.ts").read_bytes()
    replies = {"/live.ts": Reply(pieces=(video,))}
    with (
        servers.scripted_server(replies) as camera,
        running_feed(f"{camera.url}/live.ts", config=FAST, retry_jitter_s=0) as feed,
    ):
        feed.wait_for(CameraState.LIVE)
        replies["/live.ts"] = Reply(pieces=(audio,))
        detail = feed.wait_for(CameraState.BACKING_OFF)
        feed.states.clear()
        replies["/live.ts"] = Reply(pieces=(video,))
        feed.wait_for(CameraState.LIVE)

    assert "it has no video; try " in detail
    assert CameraState.FAILED not in dict(feed.states)


def test_an_unreachable_camera_reports_its_next_try_and_is_logged_once() -> None:
    url = "http://127.0.0.1:1/live.ts"
    with structlog.testing.capture_logs() as logged, running_feed(url, config=FAST, retry_jitter_s=0) as feed:
        feed.wait_until(lambda: len(feed.states) >= 5)
        states = feed.states[:5]

    assert [state for state, _ in states] == [CameraState.CONNECTING] + [CameraState.BACKING_OFF] * 4
    for attempt, (_, detail) in enumerate(states[1:], start=2):
        assert f"; try {attempt} at 20" in detail
    backing_off = [event for event in logged if event.get("state") == "backing_off"]
    assert len(backing_off) == 1
    assert "try" not in backing_off[0]["detail"]


@contextmanager
def no_leaks() -> Iterator[None]:
    """Asserts that the block leaves no more threads and open files than before it."""
    process = psutil.Process()
    threads, files = process.num_threads(), process.num_fds()
    yield
    deadline_s = time.monotonic() + 30
    while (process.num_threads() > threads or process.num_fds() > files) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert (process.num_threads() <= threads, process.num_fds() <= files) == (True, True)


def test_reconnecting_leaks_no_thread_and_no_file() -> None:
    """Each connection ends after 20 images."""
    with servers.mjpeg_server((jpeg(1), jpeg(2)), 0.02, max_images=20) as url:
        with running_feed(url, config=FAST, retry_jitter_s=0) as first:
            first.take()
        with no_leaks(), running_feed(url, config=FAST, retry_jitter_s=0) as feed:
            feed.wait_until(lambda: sum(state is CameraState.STALLED for state, _ in feed.states) >= 6, timeout_s=60)
