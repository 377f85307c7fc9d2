"""Whatever the wall clock of the machine is set to, every kind of camera goes on giving frames."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cache_store.gap import GapReason
from pipeline.cameras import PlaybackSpeed
from pipeline.sources.clips import Clip
from pipeline.sources.frame_clock import SteadyClock
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, jpeg
from tests.pipeline.playing import QUICK, RunningFeed, running_feed
from tests.pipeline.servers import TEST_PICTURE, Reply, needs_rtsp

HOUR_S = 3_600.0
CONFIG = replace(QUICK, sample_fps=8, frames_per_clip=2, max_clip_wait_s=0.3, max_segment_s=0.25)


class SetClock:
    """The real clock of the boot, and a wall clock that a test sets."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.clock = SteadyClock(wall=lambda: time.time() + self.offset_s)

    def wall_s(self) -> float:
        return time.time() + self.offset_s


@contextmanager
def simulated(folder: Path) -> Iterator[str]:
    yield "sim:street?width=64&height=36"


@contextmanager
def rounds(folder: Path) -> Iterator[str]:
    yield str(footage.write(folder / "video", replace(H264, frames=50)))


@contextmanager
def mjpeg(folder: Path) -> Iterator[str]:
    with servers.mjpeg_server([jpeg(number) for number in range(60)], 0.05) as url:
        yield url


@contextmanager
def snapshots(folder: Path) -> Iterator[str]:
    numbers = itertools.count()

    def picture(headers: dict[str, str]) -> Reply:
        return Reply(headers=(("Content-Type", "image/jpeg"),), pieces=(jpeg(next(numbers) % 200),))

    with servers.scripted_server({"/snapshot": picture}) as camera:
        yield f"{camera.url}/snapshot"


@contextmanager
def rtsp(folder: Path) -> Iterator[str]:
    with servers.rtsp_server(TEST_PICTURE) as (port, _):
        yield f"rtsp://127.0.0.1:{port}/live"


CAMERAS = [
    simulated,
    rounds,
    mjpeg,
    snapshots,
    pytest.param(rtsp, marks=[pytest.mark.rtsp, needs_rtsp]),
]


def take_until(feed: RunningFeed, is_last: Callable[[Clip], bool]) -> list[Clip]:
    clips = [feed.take()]
    while not is_last(clips[-1]):
        clips.append(feed.take())
    return clips


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_clock_that_is_set_stops_no_live_camera(
    camera: Callable[[Path], AbstractContextManager[str]], tmp_path: Path
) -> None:
    machine = SetClock()
    with (
        camera(tmp_path) as url,
        running_feed(url, PlaybackSpeed.LIVE, CONFIG, clock=machine.clock, loop=camera is rounds) as feed,
    ):
        clips = take_until(feed, lambda clip: bool(clip.received_s))
        machine.offset_s = -HOUR_S
        clips += take_until(feed, lambda clip: clip.received_s < machine.wall_s() + 60)
        clips += [feed.take() for _ in range(4)]
        feed.wait_until(lambda: any("the clock was set back" in detail for _, detail in feed.states))
        is_behind = clips[-1].times_s[-1] - machine.wall_s()
        machine.offset_s = HOUR_S
        clips += take_until(feed, lambda clip: GapReason.CLOCK_SET in clip.lost_before)
        last = feed.take()

    assert HOUR_S - 60 < is_behind < HOUR_S + 60
    times_s = [time_s for clip in (*clips, last) for time_s in clip.times_s]
    assert all(later > earlier for earlier, later in itertools.pairwise(times_s))
    assert last.times_s[-1] == pytest.approx(machine.wall_s(), abs=30)
    assert feed.clips.dropped_frames("lobby") == 0


def test_a_recording_at_its_own_pace_goes_on_while_the_clock_is_set(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))
    machine = SetClock()
    started_s = time.time()
    with running_feed(str(path), PlaybackSpeed.LIVE, CONFIG, clock=machine.clock, started_s=started_s) as feed:
        clips = [feed.take()]
        machine.offset_s = -HOUR_S
        clips += [feed.take(), feed.take()]
        machine.offset_s = HOUR_S
        clips += feed.take_until_over()

    times_s = [time_s for clip in clips for time_s in clip.times_s]
    assert times_s[-1] - started_s == pytest.approx(4.9, abs=0.2)
    assert len(times_s) == 40
    assert all(not clip.lost_before for clip in clips)


@pytest.mark.parametrize("pace", PlaybackSpeed)
def test_a_recording_that_is_opened_while_the_clock_is_back_goes_on_once_that_is_set_right(
    pace: PlaybackSpeed, tmp_path: Path
) -> None:
    """As on a machine without a battery for its clock, which a time server sets a moment after the start."""
    path = footage.write(tmp_path / "video", replace(H264, frames=50))
    machine = SetClock()
    machine.offset_s = -HOUR_S
    begin_s = time.time() - 2
    clock = SteadyClock(wall=machine.wall_s)
    with running_feed(str(path), pace, CONFIG, clock=clock, started_s=begin_s, resume_from_s=begin_s + 3) as feed:
        feed.wait_until(lambda: any("the clock has not reached" in detail for _, detail in feed.states))
        assert not feed.clips.has_clips()
        machine.offset_s = 0.0
        clips = feed.take_until_over()

    times_s = [time_s - begin_s for clip in clips for time_s in clip.times_s]
    assert times_s == pytest.approx([3 + number / 8 for number in range(1, 16)], abs=0.11)


def test_a_recording_at_fast_pace_that_was_added_before_the_clock_was_set_back_is_read_once_that_is_set_right(
    tmp_path: Path,
) -> None:
    """All of its frames have times that have not come by the clock."""
    path = footage.write(tmp_path / "video", replace(H264, frames=50))
    machine = SetClock()
    machine.offset_s = -HOUR_S
    begin_s = time.time() - 10
    clock = SteadyClock(wall=machine.wall_s)
    with running_feed(str(path), PlaybackSpeed.FAST, CONFIG, clock=clock, started_s=begin_s) as feed:
        feed.wait_until(lambda: any("the clock has not reached" in detail for _, detail in feed.states))
        machine.offset_s = 0.0
        clips = feed.take_until_over()

    times_s = [time_s - begin_s for clip in clips for time_s in clip.times_s]
    assert times_s == pytest.approx([number / 8 for number in range(40)], abs=0.11)


@pytest.mark.parametrize("camera", [simulated, rounds, mjpeg])
def test_a_camera_whose_feed_starts_again_while_the_clock_is_back_gives_frames_at_once(
    camera: Callable[[Path], AbstractContextManager[str]], tmp_path: Path
) -> None:
    """Its newest frame, and the time when it was added, have not come yet by the clock."""
    newest_s = time.time() + HOUR_S
    with (
        camera(tmp_path) as url,
        running_feed(
            url, PlaybackSpeed.LIVE, CONFIG, loop=camera is rounds, started_s=newest_s - 60, resume_from_s=newest_s
        ) as feed,
    ):
        clips = [feed.take() for _ in range(3)]

    times_s = [newest_s, *(time_s for clip in clips for time_s in clip.times_s)]
    assert all(later > earlier for earlier, later in itertools.pairwise(times_s))
    assert times_s[-1] < newest_s + 1
